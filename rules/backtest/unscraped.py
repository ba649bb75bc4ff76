"""A source whose past is empty where nothing was scraped: no rule was evaluated then, nothing measured.

Of a time in which Prometheus was down `absent(…)` and `… or vector(0)` answer as if all had been gone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sidecar.errors import PullError, TooManySeries
from sidecar.ports import Source
from sidecar.series import BoolArray, SeriesBatch

SCRAPED = "count(up)"
"""Each scrape leaves an `up`, a failed one too."""

MOST = 0.1
"""Where `up` is missing for more of the time, it is not what tells that a server was down."""


class Unscraped:
    """The source, with NaN for all series at moments between scrapes at which there was none."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._known: dict[tuple[int, int, int], BoolArray] = {}

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        """As the source has it. Raises: PullError, TooManySeries."""
        return await self._source.instant(expr, at_ms=at_ms, name=name, max_series=max_series)

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        """Values on the source's grid. Raises: PullError, TooManySeries."""
        batch = await self._source.range(
            expr, start_ms=start_ms, end_ms=end_ms, step_ms=step_ms, name=name, max_series=max_series
        )
        nothing = await self._nothing(start_ms, end_ms, step_ms)
        if not batch.n_series or nothing.shape != batch.timestamps.shape or not nothing.any():
            return batch
        return replace(batch, values=np.where(nothing, np.nan, batch.values))

    async def _nothing(self, start_ms: int, end_ms: int, step_ms: int) -> BoolArray:
        """(T,) where nothing was scraped; of one that cannot tell, False throughout."""
        grid = (start_ms, end_ms, step_ms)
        if grid not in self._known:
            try:
                batch = await self._source.range(
                    SCRAPED, start_ms=start_ms, end_ms=end_ms, step_ms=step_ms, name="up", max_series=1
                )
            except (PullError, TooManySeries):
                return np.zeros(0, dtype=np.bool_)
            self._known[grid] = _between(np.count_nonzero(np.isfinite(batch.values), axis=0) > 0)
        return self._known[grid]


def _between(there: BoolArray) -> BoolArray:
    """Where it is missing, after it was there and before it is again.

    >>> _between(np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 0], dtype=bool)).astype(int)
    array([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0])
    """
    before, after = np.logical_or.accumulate(there), np.logical_or.accumulate(there[::-1])[::-1]
    missing: BoolArray = ~there & before & after
    few = np.count_nonzero(missing) <= MOST * missing.size
    return missing if few else np.zeros_like(missing)
