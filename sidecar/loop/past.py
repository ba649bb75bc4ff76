"""A query's history, read so that it fits: the newest two weeks finely, what is older an hour at a time."""

from __future__ import annotations

from sidecar.config.model import QueryConfig
from sidecar.errors import TooManySeries
from sidecar.ports import HistorySource
from sidecar.series import SeriesBatch

FINE_HISTORY_SECONDS = 14 * 86400.0
COARSE_STEP_MS = 3_600_000
"""What is older than two weeks is read a sample an hour: it is for horizons of weeks."""

HISTORY_POINTS = 30_000_000
"""At most so many points of history are held at once (240 MB); beyond, history is read coarser."""


async def read_past(
    query: QueryConfig, source: HistorySource, *, end_ms: int, max_series: int
) -> list[SeriesBatch]:
    """What the query asks to be learnt from, up to `end_ms`, the oldest part first, the finest last.

    Raises: PullError.
    """
    # Over two weeks pods come and go: history may hold more series than any instant.
    most_series = max_series * 4

    async def part(start_ms: int, end_ms: int, step_ms: int, max_series: int = most_series) -> SeriesBatch:
        return await source.history(
            query.expr,
            start_ms=start_ms,
            end_ms=end_ms // step_ms * step_ms,
            step_ms=step_ms,
            name=query.name,
            max_series=max_series,
        )

    query_step_ms = round(query.step * 1000)
    now = await source.instant(query.expr, at_ms=end_ms, name=query.name, max_series=max_series)
    fine = min(query.history, FINE_HISTORY_SECONDS)
    n_steps = max(round(fine * 1000) // query_step_ms, 1)
    coarser = max(-(-now.n_series * n_steps // HISTORY_POINTS), 1)
    while True:
        step_ms = query_step_ms * coarser
        begin_ms = end_ms // step_ms * step_ms - n_steps // coarser * step_ms
        room = HISTORY_POINTS * coarser // n_steps
        try:
            newest = await part(begin_ms, end_ms, step_ms, min(max(room, now.n_series), most_series))
        except TooManySeries as error:
            if room >= most_series:
                raise
            # Some sources have only counted until it was too many, so it may be far more.
            coarser = max(-(-min(error.matched, most_series) * n_steps // HISTORY_POINTS), 2 * coarser)
        else:
            break
    if query.history <= fine:
        return [newest]
    older_ms = max(step_ms, COARSE_STEP_MS)
    return [await part(end_ms - round(query.history * 1000), begin_ms - 1, older_ms), newest]
