"""What was missed while nobody judged, pulled and judged in parts, so that none is too much at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sidecar.errors import TooManySeries
from sidecar.series import SeriesBatch

POINTS_AT_ONCE = 5_000_000
"""At most so many are pulled at once: a weekend of a large query is more than memory was measured for."""


async def judged_but_newest(
    start_ms: int,
    end_ms: int,
    step_ms: int,
    *,
    n_series: int,
    pull: Callable[[int, int], Awaitable[SeriesBatch]],
    judge: Callable[[SeriesBatch, int, int], Awaitable[None]],
    not_yet: Callable[[int], bool],
) -> tuple[int, SeriesBatch]:
    """The newest part and where it begins, once the parts before it are judged; usually there are none.

    `pull`, `judge`: of the steps from a time to another, both included. `not_yet`: whether a step lies in
    the source's future, as its answer has shown; nothing beyond is judged.

    Raises: PullError; what was judged need not be pulled again. TooManySeries where the newest step has them.
    """
    n_steps = most_steps = max(POINTS_AT_ONCE // max(n_series, 1), 1)
    asked_newest = False
    while True:
        until_ms = min(start_ms + (n_steps - 1) * step_ms, end_ms)
        try:
            batch = await pull(start_ms, until_ms)
        except TooManySeries:
            if start_ms == end_ms:
                raise
            if not asked_newest:
                # Where it has too many itself, it is no use to ask for what is before it.
                await pull(end_ms, end_ms)
                asked_newest = True
            if until_ms == start_ms:  # Too many even for a moment, which is over: not judged, as it was then.
                start_ms += step_ms
            # Series that came and went are too many only together.
            n_steps = max((until_ms - start_ms) // step_ms // 2, 1)
            continue
        if until_ms == end_ms or not_yet(until_ms):
            return start_ms, batch
        await judge(batch, start_ms, until_ms)
        start_ms = until_ms + step_ms
        n_steps = min(2 * n_steps, most_steps)  # Where many came and went, fewer may have done so later.
