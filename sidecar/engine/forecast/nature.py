"""What a series cannot do by its nature, told from its past: a counter fall, a percentage exceed its top."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sidecar.engine.forecast.pool import PoolForecast, Selection
from sidecar.series import FloatArray

COUNTER_SHARE = 0.97
NATURAL_CEILINGS = (1.0, 100.0)
TIMES_AT_CEILING = 3
"""A share or percentage that has stood at its top so often has its top there."""
MIN_MOVES = 3
USUAL_SPREADS = (1e-6, 1e12)
"""Series that move by less or more are forecast in a unit of their own, where no constant is in their way."""
USUAL, GROWING, COUNTER = "usual", "growing", "counter"
GLITCH_TIMES, GLITCH_STEPS = 100.0, 6
"""So many times as far from the middle as all else, once, and over within so many steps: it tells nothing of
what comes."""


@dataclass(frozen=True)
class Nature:
    """A series as it is to be forecast.

    `kind`: "usual", "growing" (it never fell) or "counter" (it falls when it is reset). `grid` (n,) without
    resets and without a glitch, in multiples of `unit`; `taken_out`: by how much its last entry exceeds the
    series', in the series' unit. `floor`, `ceiling`: infinite where there is none.
    """

    kind: str
    grid: FloatArray
    unit: float
    taken_out: float
    floor: float
    ceiling: float

    def told(self, found: PoolForecast) -> PoolForecast:
        """A forecast of `grid` as one of the series: what only grows does not fall; no bounds yet."""
        if self.kind == USUAL and self.unit == 1.0:
            return found
        yhat, lower, upper = found.yhat, found.lower, found.upper
        if self.kind != USUAL:
            last = self.grid[-1]
            above = upper - yhat
            lower = np.maximum.accumulate(np.maximum(lower, last))
            yhat = np.maximum.accumulate(np.maximum(yhat, lower))
            # Where the forecast had to be lifted, how far it may be off above it stays.
            upper = np.maximum.accumulate(yhat + above)
        return PoolForecast(*(a * self.unit - self.taken_out for a in (yhat, lower, upper)))

    def within(self, found: PoolForecast) -> PoolForecast:
        """The forecast cut at the floor and the ceiling."""
        yhat, lower, upper = (
            np.clip(a, self.floor, self.ceiling) for a in (found.yhat, found.lower, found.upper)
        )
        return PoolForecast(yhat, np.minimum(lower, yhat), np.maximum(upper, yhat))


def nature_of(grid: FloatArray, *, floor: float = -np.inf, ceiling: float = np.inf) -> Nature:
    """What the past of a series shows of it; `floor` and `ceiling` are what is known beside that.

    `grid` (n,) NaN where no sample lies, its last entry a sample.
    """
    if floor < 0.0 <= float(np.nanmin(grid)):
        floor = 0.0
    grid = without_glitch(grid)
    unrolled = _unrolled(grid)
    top = natural_ceiling(grid)
    # What counts in whole numbers comes by 1 and by 100, too.
    if top is not None and (unrolled is None or (np.nan_to_num(grid) % 1.0).any()):
        ceiling = min(ceiling, top)
    kind, without = (USUAL, grid) if unrolled is None else unrolled
    unit = _unit(without)
    in_units = without if unit == 1.0 else without / unit
    return Nature(kind, in_units, unit, float(without[-1] - grid[-1]), floor, ceiling)


def without_glitch(grid: FloatArray) -> FloatArray:
    """The series without what was far beyond anything else of it, once, and is over; mostly as it is.

    A counter that fell a little is taken for one that was reset, and its `rate()` is a hundred thousand for
    some minutes; what is subtracted from an unsigned number wraps. What came twice may come again.
    """
    present = np.flatnonzero(np.isfinite(grid))
    if len(present) <= 2 * GLITCH_STEPS:
        return grid
    off = np.abs(grid[present] - np.median(grid[present]))
    most = float(np.partition(off, -1 - GLITCH_STEPS)[-1 - GLITCH_STEPS])
    far = present[off > GLITCH_TIMES * most]
    once = len(far) and far[-1] - far[0] < GLITCH_STEPS and far[-1] != present[-1]
    if not once or most == 0.0:
        return grid
    without = grid.copy()
    without[far] = np.nan
    return without


def _unit(grid: FloatArray) -> float:
    """A power of two near the spread of the series, 1 where that is usual; dividing by it loses nothing."""
    spread = float(np.nanmax(grid) - np.nanmin(grid))
    least, most = USUAL_SPREADS
    if spread == 0.0 or least <= spread <= most:
        return 1.0
    return math.ldexp(1.0, math.frexp(spread)[1])


def natural_ceiling(grid: FloatArray) -> float | None:
    """1 or 100 where the series is a share or percentage that has stood there; None for others."""
    top = float(np.nanmax(grid))
    if top not in NATURAL_CEILINGS:
        return None
    stood = np.count_nonzero(grid == top) >= TIMES_AT_CEILING and 0.0 <= float(np.nanmin(grid)) < top
    return top if stood else None


def _unrolled(grid: FloatArray) -> tuple[str, FloatArray] | None:
    """A counter without its resets; None where the series is no counter.

    A counter never falls except to near zero, and it grows at a fair share of its steps.
    """
    present = np.flatnonzero(np.isfinite(grid))
    x = grid[present]
    if len(x) <= MIN_MOVES:
        return None
    moves = np.diff(x)
    falls = moves < 0
    grows = np.count_nonzero(moves > 0)
    if (
        x.min() < 0
        or grows < 0.2 * len(moves)
        or np.count_nonzero(falls) > (1.0 - COUNTER_SHARE) * len(moves)
    ):
        return None
    if not falls.any():
        return GROWING, grid
    # After a reset a counter holds what it counted since: little beside what it had.
    if (x[1:][falls] > 0.1 * x[:-1][falls]).any() or np.count_nonzero(falls) > 0.1 * grows:
        return None
    unrolled = grid.copy()
    lost = np.concatenate([[0.0], np.cumsum(np.where(falls, x[:-1], 0.0))])
    unrolled[present] = x + lost
    return COUNTER, unrolled


@dataclass(frozen=True)
class NaturalSelection:
    """A selection that was made of a nature's `grid`, as something that forecasts the series itself."""

    selection: Selection

    @property
    def horizon(self) -> int:
        """How many steps it forecasts."""
        return self.selection.horizon

    def forecast(self, grid: FloatArray) -> PoolForecast:
        """The next `horizon` steps, without bounds: what is cut tells less of how likely a crossing is."""
        nature = nature_of(grid)
        return nature.told(self.selection.forecast(nature.grid))
