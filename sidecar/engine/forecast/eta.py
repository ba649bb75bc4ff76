"""When a series will cross a threshold: from the run that it is in, and from the pool's forecast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from sidecar.engine.forecast.crossing import Threshold, first_step, probabilities
from sidecar.engine.forecast.nature import natural_ceiling
from sidecar.engine.forecast.pool import PoolForecast
from sidecar.engine.forecast.trend import RATE_UNCERTAINTY, Run, chance_of_rise, current_run
from sidecar.series import FloatArray

FINE_SECONDS = 86400.0
"""So far ahead every step is looked at; beyond, every hour."""
COARSE_SECONDS = 3600.0
LEVEL = 0.95
MIN_SAMPLES = 16
"""Of a series with fewer nothing is said."""


class Ahead(Protocol):
    """Something that forecasts the steps after a grid's last sample, as a selection of the pool does."""

    @property
    def horizon(self) -> int:
        """How many steps it forecasts."""
        ...

    def forecast(self, grid: FloatArray) -> PoolForecast:
        """The next `horizon` steps."""
        ...


@dataclass(frozen=True)
class Uplift:
    """How many times the usual is expected at each lead, and from how many to how many; (h,)."""

    centre: FloatArray
    least: FloatArray
    most: FloatArray

    def of(self, usual: PoolForecast) -> PoolForecast:
        """A forecast of the usual as one of the values."""
        yhat = usual.yhat * self.centre
        return PoolForecast(
            yhat, np.minimum(usual.lower * self.least, yhat), np.maximum(usual.upper * self.most, yhat)
        )


@dataclass(frozen=True)
class Crossing:
    """Probability of having crossed by each lead, (h,), never falling; leads in seconds."""

    leads_seconds: FloatArray
    probability: FloatArray

    def eta_seconds(self, probability: float) -> float:
        """Seconds until the probability of having crossed is so high; infinite where it never is."""
        step = first_step(self.probability, probability)
        return math.inf if step is None else float(self.leads_seconds[step])


def lead_steps(step_seconds: float, horizon_seconds: float) -> np.ndarray:
    """Leads to look at, in steps: each for a day, then each hour."""
    fine = round(min(horizon_seconds, FINE_SECONDS) / step_seconds)
    stride = max(round(COARSE_SECONDS / step_seconds), 1)
    last = round(horizon_seconds / step_seconds)
    return np.concatenate(
        [np.arange(1, max(fine, 1) + 1), np.arange(fine + stride, last + 1, stride)]
    ).astype(np.int64)


def crossing(
    grid: FloatArray,
    step_seconds: float,
    threshold: Threshold,
    *,
    horizon_seconds: float,
    ahead: Ahead | None,
    newest: float | None = None,
    uplift: Uplift | None = None,
) -> Crossing:
    """How likely the threshold is crossed by when.

    `grid` (n,) NaN where no sample lies, its last entry a sample. `ahead`: the
    pool's selection for this series, None where it cannot come so far.
    `uplift`: what is known of each of `lead_steps`; the grid is then the usual, without events, and
    `newest` what the series is now.
    """
    leads = lead_steps(step_seconds, horizon_seconds)
    if never_beyond(threshold, grid):
        return Crossing(leads * step_seconds, np.zeros(len(leads)))
    if beyond(threshold, float(grid[-1]) if newest is None else newest):
        return Crossing(np.zeros(1), np.ones(1))
    chance = np.zeros(len(leads))
    if ahead is not None:
        found = ahead.forecast(grid)
        # What lies beyond the pool's horizon is judged by its last step.
        at = np.minimum(leads, ahead.horizon) - 1
        found = PoolForecast(found.yhat[at], found.lower[at], found.upper[at])
        found = found if uplift is None else uplift.of(found)
        chance = probabilities(threshold, found.yhat, found.lower, found.upper, LEVEL)
    run = current_run(grid)
    if run is not None and (run.rate > 0) == threshold.above:
        straight = _by_run(run, threshold, leads)
        distance = threshold.value - run.level
        needed = max(distance if threshold.above else -distance, 0.0)
        of_run = chance_of_rise(grid, run, needed, leads.astype(np.float64), straight)
        # Either knows what the other does not: the pool the hour of the day, the run what is new.
        chance = np.maximum(of_run, chance)
    return Crossing(leads * step_seconds, np.maximum.accumulate(chance))


def beyond(threshold: Threshold, value: float) -> bool:
    """True where the value is on the bad side now."""
    return value > threshold.value if threshold.above else value < threshold.value


def never_beyond(threshold: Threshold, grid: FloatArray) -> bool:
    """Whether a share or percentage would have to exceed the top at which it has stood."""
    top = natural_ceiling(grid)
    return top is not None and threshold.above and threshold.value >= top


def within_reach(grid: FloatArray, threshold: Threshold, uplift: Uplift | None = None) -> bool:
    """Whether the pool is asked for a crossing: within as much time as was seen, its rules leave what was
    seen by its range at most."""
    if never_beyond(threshold, grid):
        return False
    low, high = float(np.nanmin(grid)), float(np.nanmax(grid))
    low, high = low - (high - low), high + (high - low)
    if uplift is not None:
        ends = np.array([low, high])[:, None] * np.stack([uplift.least, uplift.most])[:, None, :]
        low, high = min(low, float(ends.min())), max(high, float(ends.max()))
    return threshold.value <= high if threshold.above else threshold.value >= low


def _by_run(run: Run, threshold: Threshold, leads: np.ndarray) -> FloatArray:
    """The probability of being beyond at each lead if the run goes on, (h,)."""
    sign = 1.0 if threshold.above else -1.0
    distance = sign * (run.level + run.rate * leads - threshold.value)
    width = np.sqrt(
        run.scatter**2 + (run.rate_error * leads) ** 2 + (RATE_UNCERTAINTY * run.rate * leads) ** 2
    )
    certain = np.where(distance > 0, np.inf, -np.inf)
    z = np.where(width > 0, distance / np.where(width > 0, width, 1.0), certain)
    return np.array([0.5 * (1.0 + math.erf(v / math.sqrt(2.0))) for v in z.tolist()])
