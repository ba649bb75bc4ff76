"""The forecast of one series from its samples, with a stated answer for every odd kind of series."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sidecar.engine.forecast.intermittent import mean_per_step
from sidecar.engine.forecast.past import to_grid
from sidecar.engine.forecast.pool import pool_forecast
from sidecar.errors import ModelError
from sidecar.series import FloatArray, TimeArray

MIN_POOL_SAMPLES = 16
"""Below, no rule could be tested: the last value is carried on."""
MAX_POINTS = 60_000
MAX_DAYS = 70
COUNTER_SHARE = 0.97
NATURAL_CEILINGS = (1.0, 100.0)


@dataclass(frozen=True)
class SeriesForecast:
    """What comes after the last sample; arrays (h,), `timestamps` int64 ms.

    `kind` names what the series was taken for, `rules` the heaviest rules of the pool. `mean`: where the
    series is mostly zero, how much comes in a step on average.
    """

    timestamps: TimeArray
    yhat: FloatArray
    lower: FloatArray
    upper: FloatArray
    level: float
    kind: str
    rules: dict[str, float] = field(default_factory=dict)
    mean: float | None = None


def forecast_series(
    timestamps: TimeArray,
    values: FloatArray,
    *,
    step_seconds: float,
    horizon_steps: int,
    level: float = 0.95,
    floor: float | None = None,
    ceiling: float | None = None,
) -> SeriesForecast:
    """Forecast the steps after the newest sample.

    `timestamps` int64 ms, increasing; `values` same length, NaN where absent.
    `level`: share of future values that the interval is to hold, in 0..1.
    `floor`, `ceiling`: bounds of what the series can be, beside those that its past shows.

    Raises: ModelError where there is no sample at all, or a bad horizon or level.
    """
    if horizon_steps < 1:
        raise ModelError(f"a horizon of {horizon_steps} steps holds no step; it must be 1 or more")
    if not 0.0 < level < 1.0:
        raise ModelError(f"level {level:g} is not between 0 and 1")
    seen = np.isfinite(values)
    if not seen.any():
        raise ModelError("has no value at all, only absent samples; there is nothing to forecast from")
    end_ms = int(timestamps[seen][-1])
    ahead = np.arange(1, horizon_steps + 1)
    times = end_ms + np.rint(ahead * (step_seconds * 1000.0)).astype(np.int64)
    newest = timestamps >= end_ms - MAX_DAYS * 86400_000
    grid = to_grid(timestamps[newest], values[newest], step_seconds)[-MAX_POINTS:]
    kind, rules, mean = "usual", {}, None
    last = float(grid[-1])
    present = grid[np.isfinite(grid)]
    if len(present) >= 2 and present.min() == present.max():
        kind = "constant"
        yhat = lower = upper = np.full(horizon_steps, last)
    elif len(present) < MIN_POOL_SAMPLES:
        kind = "short"
        yhat, lower, upper = _carry_on(grid, ahead)
    else:
        unrolled = _unroll(grid)
        if unrolled is not None:
            kind, grid = unrolled
        found, selection = pool_forecast(grid, step_seconds, horizon_steps, level)
        yhat, lower, upper, rules = found.yhat, found.lower, found.upper, selection.shares
        if unrolled is not None:
            yhat, lower, upper = _never_falling(grid[-1], yhat, lower, upper)
            yhat, lower, upper = (a - (grid[-1] - last) for a in (yhat, lower, upper))
        elif _intermittent(present):
            kind, mean = "intermittent", mean_per_step(present)
    yhat, lower, upper = _bounded(present, yhat, lower, upper, floor, ceiling)
    return SeriesForecast(times, yhat, lower, upper, level, kind, rules, mean)


def _carry_on(grid: FloatArray, ahead: np.ndarray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The last value; twice the largest step so far, growing as a random walk does."""
    present = grid[np.isfinite(grid)]
    yhat = np.full(len(ahead), present[-1])
    steps = np.abs(np.diff(present))
    width = 2.0 * (float(steps.max()) if len(steps) else abs(float(present[-1]))) * np.sqrt(ahead)
    return yhat, yhat - width, yhat + width


def _unroll(grid: FloatArray) -> tuple[str, FloatArray] | None:
    """A counter without its resets; None where the series is no counter.

    A counter never falls except to near zero, and it grows at a fair share of its steps.
    """
    present = np.flatnonzero(np.isfinite(grid))
    x = grid[present]
    moves = np.diff(x)
    falls = moves < 0
    grows = (moves > 0).mean()
    if x.min() < 0 or grows < 0.2 or falls.mean() > 1.0 - COUNTER_SHARE:
        return None
    if not falls.any():
        return "growing", grid
    # After a reset a counter holds what it counted since: little beside what it had.
    if (x[1:][falls] > 0.1 * x[:-1][falls]).any() or falls.sum() > 0.1 * (moves > 0).sum():
        return None
    unrolled = grid.copy()
    lost = np.concatenate([[0.0], np.cumsum(np.where(falls, x[:-1], 0.0))])
    unrolled[present] = x + lost
    return "counter", unrolled


def _never_falling(
    last: float, yhat: FloatArray, lower: FloatArray, upper: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    lower = np.maximum.accumulate(np.maximum(lower, last))
    yhat = np.maximum.accumulate(np.maximum(yhat, lower))
    return yhat, lower, np.maximum.accumulate(np.maximum(upper, yhat))


def _intermittent(present: FloatArray) -> bool:
    return bool((present == 0).mean() > 0.5 and (present > 0).any())


def _bounded(
    present: FloatArray,
    yhat: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    floor: float | None,
    ceiling: float | None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    low = -np.inf if floor is None else floor
    high = np.inf if ceiling is None else ceiling
    if present.min() >= 0.0:
        low = max(low, 0.0)
    top = float(present.max())
    # A share or percentage that has stood at its top again and again has its top there.
    if top in NATURAL_CEILINGS and (present == top).sum() >= 3 and present.min() < top:
        high = min(high, top)
    yhat, lower, upper = (np.clip(a, low, high) for a in (yhat, lower, upper))
    return yhat, np.minimum(lower, yhat), np.maximum(upper, yhat)
