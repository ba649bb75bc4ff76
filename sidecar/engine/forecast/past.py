"""The past of one series on a regular grid, with everything derived from it that no future value enters.

Arrays here are indexed by grid position. What stands at position `i` of
`values`, or of an array made from it, depends on samples at or before `i` only,
so a rule that reads positions below an origin cannot look ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sidecar.engine.arrays import measurements
from sidecar.engine.forecast.spikes import LONGEST, without_spikes
from sidecar.series import BoolArray, FloatArray, TimeArray

DAY_SECONDS = 86400.0
WEEK_DAYS = 7
MAX_POINTS = 60_000
"""A grid has no more: of bursts of milliseconds over months it would have milliards."""

Index = NDArray[np.int64]
T = TypeVar("T")


def to_grid(timestamps: TimeArray, values: FloatArray, step_seconds: float) -> FloatArray:
    """Samples on a grid of `step_seconds` that ends at the newest one; NaN where none lies.

    `timestamps` int64 ms, increasing; `values` same length. Of several samples
    within half a step of one grid point the newest counts; older ones than MAX_POINTS steps are left out.
    """
    seen = np.isfinite(measurements(values))
    timestamps, values = timestamps[seen], values[seen]
    if not len(values):
        return np.empty(0)
    back = np.rint((timestamps[-1] - timestamps) / (step_seconds * 1000.0)).astype(np.int64)
    newest = back < MAX_POINTS
    back, values = back[newest], values[newest]
    grid = np.full(int(back[0]) + 1, np.nan)
    grid[back[0] - back] = values
    return grid


@njit(cache=True, nogil=True)
def _fill(values, short, day):
    filled = values.copy()
    last = np.nan
    missing = 0
    for i in range(len(values)):
        if np.isfinite(values[i]):
            last = values[i]
            missing = 0
            continue
        missing += 1
        if missing > short and day > 0 and i >= day:
            filled[i] = filled[i - day]
        else:
            filled[i] = last
    # Before the first sample nothing is known; the first value stands in.
    for i in range(len(filled)):
        if np.isfinite(filled[i]):
            filled[:i] = filled[i]
            break
    return filled


@njit(cache=True, nogil=True)
def ewma(x, alpha):
    """Exponential mean as of each position, the first value being the start."""
    out = np.empty_like(x)
    level = x[0]
    for i in range(len(x)):
        # The plain mean at first, so that the first value does not linger.
        rate = max(alpha, 1.0 / (i + 1.0))
        level += rate * (x[i] - level)
        out[i] = level
    return out


@njit(cache=True, nogil=True)
def same_time_mean(x, period, gain):
    """Exponential mean over the values one, two, ... periods before, as of each position, itself included.

    What it gives the newest value changes smoothly at first: if it did so from period to period, a
    series that grows would seem to jump there.
    """
    out = x.copy()
    for i in range(period, len(x)):
        out[i] = out[i - period] + max(gain, period / i) * (x[i] - out[i - period])
    return out


@njit(cache=True, nogil=True)
def same_time_median(x, period, n):
    """Median of the last `n` values that lie whole periods apart, as of each position, itself included."""
    out = x.copy()
    room = np.empty(n)
    for i in range(period, len(x)):
        k = 0
        j = i
        # Sorted as they come: for a handful that is many times faster than np.median.
        while k < n and j >= 0:
            at = k
            while at > 0 and room[at - 1] > x[j]:
                room[at] = room[at - 1]
                at -= 1
            room[at] = x[j]
            k += 1
            j -= period
        out[i] = 0.5 * (room[(k - 1) // 2] + room[k // 2])
    return out


@njit(cache=True, nogil=True)
def damped_trend(x, alpha, beta, phi):
    """Holt's level and damped trend as of each position."""
    level, trend = np.empty_like(x), np.empty_like(x)
    a, b = x[0], 0.0
    for i in range(len(x)):
        before = a
        a = alpha * x[i] + (1.0 - alpha) * (a + phi * b)
        b = beta * (a - before) + (1.0 - beta) * phi * b
        level[i], trend[i] = a, b
    return level, trend


@njit(cache=True, nogil=True)
def holt_winters(x, period, alpha, beta, gamma, phi):
    """Additive level, damped trend and season as of each position; the season's entry is that of its slot."""
    n = len(x)
    level, trend, season = np.empty(n), np.empty(n), np.empty(n)
    a = x[:period].mean()
    b = 0.0
    for i in range(n):
        if i < period:
            level[i], trend[i], season[i] = a, b, x[i] - a
            continue
        s = season[i - period]
        before = a
        a = alpha * (x[i] - s) + (1.0 - alpha) * (a + phi * b)
        b = beta * (a - before) + (1.0 - beta) * phi * b
        level[i], trend[i] = a, b
        season[i] = s + gamma * (x[i] - a - s)
    return level, trend, season


def smooth(x: FloatArray, half: int) -> FloatArray:
    """Centred running mean over 2 half + 1 positions, of what there is at the ends."""
    if half < 1:
        return x
    sums = np.concatenate([[0.0], np.cumsum(x)])
    at = np.arange(len(x))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(x))
    out: FloatArray = (sums[high] - sums[low]) / (high - low)
    return out


class Past:
    """One series up to now, on its grid.

    `grid` (n,) has NaN where no sample lies, and its last entry is a sample.
    `day` and `week` are periods in steps, 0 where history is shorter than two
    of them (a day) or than eight days (a week).
    """

    def __init__(self, grid: FloatArray, step_seconds: float) -> None:
        self.step_seconds = step_seconds
        self.observed: BoolArray = np.isfinite(grid)
        self.n = len(grid)
        day = round(DAY_SECONDS / step_seconds)
        # A step that does not divide the day has no same-time-yesterday on the grid.
        fits = day > 1 and abs(day * step_seconds - DAY_SECONDS) < 0.02 * step_seconds
        self.day = day if fits and self.n >= 2 * day + 1 else 0
        self.week = WEEK_DAYS * day if self.day and self.n >= 8 * day + 1 else 0
        filled = _fill(grid, max(round(3600.0 / step_seconds), 1), self.day)
        self.centre = float(np.median(filled))
        calm = without_spikes(filled, self.day)
        if calm is not filled:
            # What the newest are, the next will tell; until then a forecast doubts (`doubt.py`).
            calm[-LONGEST:] = filled[-LONGEST:]
        self.y: FloatArray = calm - self.centre
        self._memo: dict[tuple[object, ...], Any] = {}
        self.non_negative = bool(np.nanmin(grid) >= 0.0)
        self.positive = bool(np.nanmin(grid) > 0.0)

    def memo(self, function: Callable[..., T], *settings: float) -> T:
        """`function(y, *settings)`, computed once."""
        key = (function.__name__, *settings)
        if key not in self._memo:
            self._memo[key] = function(self.y, *settings)
        found: T = self._memo[key]
        return found

    def steps(self, seconds: float) -> int:
        """So many seconds in whole steps, at least one."""
        return max(round(seconds / self.step_seconds), 1)

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest of `y`."""
        return float(self.y.min()), float(self.y.max())

    @cached_property
    def sums(self) -> FloatArray:
        """Running sums of `y`, (n + 1,)."""
        return np.concatenate([[0.0], np.cumsum(self.y)])

    def window_mean(self, origins: Index, width: int | Index) -> FloatArray:
        """Mean of the `width` values before each origin, of what there is near the start.

        Several widths at once are broadcast against the origins.
        """
        low = np.maximum(origins - width, 0)
        mean: FloatArray = (self.sums[origins] - self.sums[low]) / np.maximum(origins - low, 1)
        return mean

    def window_median(self, origins: Index, width: int, most: int = 200) -> FloatArray:
        """Median of (at most `most`, evenly taken) values in the window before each origin."""
        width = min(width, int(origins.min()))
        stride = -(-width // most)
        back = np.arange(1, width + 1, stride)
        median: FloatArray = np.median(self.y[origins[..., None] - back], axis=-1)
        return median
