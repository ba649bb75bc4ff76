"""The forecast of one series from its samples, with a stated answer for every odd kind of series."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sidecar.engine.arrays import measurements
from sidecar.engine.forecast.intermittent import mean_per_step
from sidecar.engine.forecast.nature import USUAL, nature_of
from sidecar.engine.forecast.past import DAY_SECONDS, to_grid
from sidecar.engine.forecast.pool import PoolForecast, pool_forecast
from sidecar.errors import ModelError
from sidecar.series import FloatArray, TimeArray

MIN_POOL_SAMPLES = 16
"""Below, no rule could be tested: the last value is carried on."""
MAX_DAYS, LEAST_POINTS = 70, 400
"""So much of the past is looked at: days, or points where steps are so long that those days hold few."""


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
    values = measurements(values)
    seen = np.isfinite(values)
    if not seen.any():
        raise ModelError(
            "has no value at all, only absent samples (beyond 1e36 counts as absent); "
            "there is nothing to forecast from"
        )
    end_ms = int(timestamps[seen][-1])
    ahead = np.arange(1, horizon_steps + 1)
    times = end_ms + np.rint(ahead * (step_seconds * 1000.0)).astype(np.int64)
    points = max(MAX_DAYS * DAY_SECONDS / step_seconds, LEAST_POINTS)
    newest = timestamps >= end_ms - points * step_seconds * 1000.0
    grid = to_grid(timestamps[newest], values[newest], step_seconds)
    rules, mean = {}, None
    present = grid[np.isfinite(grid)]
    nature = nature_of(
        grid,
        floor=-np.inf if floor is None else floor,
        ceiling=np.inf if ceiling is None else ceiling,
    )
    if len(present) >= 2 and present.min() == present.max():
        kind, flat = "constant", np.full(horizon_steps, grid[-1])
        found = PoolForecast(flat, flat, flat)
    elif len(present) < MIN_POOL_SAMPLES:
        kind, found = "short", _carry_on(grid, ahead)
    else:
        found, selection = pool_forecast(nature.grid, step_seconds, horizon_steps, level)
        kind, found, rules = nature.kind, nature.told(found), selection.shares
        if kind == USUAL and _intermittent(present):
            kind, mean = "intermittent", mean_per_step(present)
    found = nature.within(found)
    return SeriesForecast(times, found.yhat, found.lower, found.upper, level, kind, rules, mean)


def _carry_on(grid: FloatArray, ahead: np.ndarray) -> PoolForecast:
    """The last value; twice the largest step so far, growing as a random walk does."""
    present = grid[np.isfinite(grid)]
    yhat = np.full(len(ahead), present[-1])
    steps = np.abs(np.diff(present))
    width = 2.0 * (float(steps.max()) if len(steps) else abs(float(present[-1]))) * np.sqrt(ahead)
    return PoolForecast(yhat, yhat - width, yhat + width)


def _intermittent(present: FloatArray) -> bool:
    return bool((present == 0).mean() > 0.5 and (present > 0).any())
