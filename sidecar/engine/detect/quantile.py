"""Bands between quantiles of the hour of day, followed by stochastic approximation (Robbins & Monro 1951).

The median and the 1 % and 99 % quantiles of each hour; a point counts in units of
the distance from the median to the quantile of its side. Nothing is assumed of the
distribution, so skewed series get skewed bands.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.detect.calibrated import (
    CENTRE,
    LAST_SECONDS,
    LEVEL_FLOOR,
    N_NOW,
    SAMPLES,
    SCALE_DOWN,
    SCALE_UP,
    CalibratedDetector,
)
from sidecar.series import FloatArray, TimeArray

HOURS = 24
LEAST = 30
TAIL = 0.01
MEDIAN_PACE, TAIL_PACE = 0.05, 0.5
"""Steps, in mean distances: a tail is visited a hundredth as often as the median, so it steps farther."""
TRUSTED = 30.0  # Samples of an hour before it speaks for itself; until then the whole day does.
LOW, MIDDLE, HIGH, APART, COUNT = range(5)


@njit(cache=True, inline="always")
def _follow(b, y):
    """Move one hour's quantiles by a sample, in place."""
    n = b[COUNT]
    if n == 0.0:
        b[LOW] = b[MIDDLE] = b[HIGH] = y
    away = abs(y - b[MIDDLE])
    b[APART] += max(1.0 / (n + 1.0), 0.01) * (min(away, 10.0 * b[APART] if n > 20.0 else away) - b[APART])
    pace = b[APART] * max(2.0 / (n + 2.0), MEDIAN_PACE)
    b[MIDDLE] += pace if y > b[MIDDLE] else -pace if y < b[MIDDLE] else 0.0
    pace = b[APART] * TAIL_PACE
    b[LOW] -= pace * (1.0 - TAIL) if y < b[LOW] else -pace * TAIL
    b[HIGH] += pace * (1.0 - TAIL) if y > b[HIGH] else -pace * TAIL
    b[LOW], b[HIGH] = min(b[LOW], b[MIDDLE]), max(b[HIGH], b[MIDDLE])
    b[COUNT] = n + 1.0


@njit(cache=True, inline="always")
def _scales(b):
    floor = max(0.5 * b[APART], LEVEL_FLOOR * abs(b[MIDDLE]), 1e-9)
    return max((b[MIDDLE] - b[LOW]) / 2.5, floor), max((b[HIGH] - b[MIDDLE]) / 2.5, floor)


@njit(cache=True, nogil=True)
def _run(now, hours, seconds, x, value, yhat, down, up):
    n_rows, n_steps = x.shape
    for row in range(n_rows):
        for t in range(n_steps):
            y = x[row, t]
            of_hour = hours[row, int(seconds[t] // 3600.0) % HOURS]
            of_day = hours[row, HOURS]
            if now[row, SAMPLES] >= LEAST:
                used = of_hour if of_hour[COUNT] >= TRUSTED else of_day
                centre = used[MIDDLE]
                scale_down, scale_up = _scales(used)
                now[row, CENTRE], now[row, SCALE_DOWN], now[row, SCALE_UP] = centre, scale_down, scale_up
                yhat[row, t], down[row, t], up[row, t] = centre, scale_down, scale_up
                value[row, t] = (y - centre) / scale_up if y > centre else (centre - y) / scale_down
            if np.isfinite(y):
                _follow(of_hour, y)
                _follow(of_day, y)
                now[row, SAMPLES] += 1.0
                now[row, LAST_SECONDS] = seconds[t]


class QuantileDetector(CalibratedDetector):
    """The detector `quantile`; see the module's docstring. State 1,096 bytes a series with its threshold."""

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        layout = {"now": ((N_NOW,), np.float64), "hours": ((HOURS + 1, 5), np.float64)}
        super().__init__(_run, layout, budget_per_month, step_seconds)

    def expect(self, timestamps: TimeArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The median and the scales of each time's hour; see `Detector.expect`."""
        hours = self.arrays["hours"]
        used = hours[:, (timestamps // 3_600_000) % HOURS]
        used = np.where(used[..., COUNT : COUNT + 1] >= TRUSTED, used, hours[:, HOURS][:, None])
        known = used[..., COUNT] > 0
        floor = np.maximum(0.5 * used[..., APART], LEVEL_FLOOR * np.abs(used[..., MIDDLE])) + 1e-9
        below = np.maximum((used[..., MIDDLE] - used[..., LOW]) / 2.5, floor)
        above = np.maximum((used[..., HIGH] - used[..., MIDDLE]) / 2.5, floor)
        return tuple(np.where(known, a, np.nan) for a in (used[..., MIDDLE], below, above))  # type: ignore[return-value]
