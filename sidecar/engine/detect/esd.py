"""Generalised extreme studentised deviates (Rosner 1983) over a sliding window.

At each point the farthest of the window are taken out one by one; up to the last that
lay beyond its critical value they are outliers, and what remains says where the centre
is and how wide the rest lies. Several outliers cannot hide each other (masking), as they do from a
plain three-sigma rule.
"""

from __future__ import annotations

import functools

import numpy as np
from numba import njit

from sidecar.engine.detect.calibrated import (
    CENTRE,
    LAST_SECONDS,
    LEVEL_FLOOR,
    SAMPLES,
    SCALE_DOWN,
    SCALE_UP,
    CalibratedDetector,
    window_layout,
)
from sidecar.series import FloatArray

WINDOW = 61
LEAST = 20
MOST_OUTLIERS = 10
SIGNIFICANCE = 0.001


@functools.cache
def critical_values() -> FloatArray:
    """Rosner's critical deviate for a set of n, at index n; infinite where n is too few.

    His deviations divide by n - 1; these are of those that divide by n, as `np.std` does.
    """
    from scipy.special import stdtrit  # Heavy, and needed once.

    values = np.full(WINDOW + 1, np.inf)
    for n in range(LEAST // 2, WINDOW + 1):
        tail = stdtrit(n - 2, 1.0 - SIGNIFICANCE / (2.0 * n))
        values[n] = tail * np.sqrt((n - 1) / (n - 2 + tail * tail))
    return values


@njit(cache=True, inline="always")
def _wide_enough(scale, centre):
    return max(scale, LEVEL_FLOOR * abs(centre), 1e-9)


@njit(cache=True, nogil=True)
def _run(now, recent, critical, seconds, x, value, yhat, down, up):
    n_rows, n_steps = x.shape
    kept = np.empty(WINDOW)
    for row in range(n_rows):
        for t in range(n_steps):
            y = x[row, t]
            n = int(now[row, SAMPLES])
            if n >= LEAST:
                size = min(n, WINDOW)
                kept[:size] = recent[row, :size]
                centre, scale = np.mean(kept[:size]), np.std(kept[:size])
                for _ in range(min(MOST_OUTLIERS, size // 4)):
                    mean, spread = np.mean(kept[:size]), np.std(kept[:size])
                    worst = np.argmax(np.abs(kept[:size] - mean))
                    extreme = abs(kept[worst] - mean) > critical[size] * spread
                    size -= 1
                    kept[worst] = kept[size]
                    if extreme:
                        # The last that is extreme makes outliers of all before it: none hides another.
                        centre, scale = np.mean(kept[:size]), np.std(kept[:size])
                scale = _wide_enough(scale, centre)
                now[row, CENTRE], now[row, SCALE_DOWN], now[row, SCALE_UP] = centre, scale, scale
                yhat[row, t], down[row, t], up[row, t] = centre, scale, scale
                value[row, t] = abs(y - centre) / scale
            if np.isfinite(y):
                recent[row, n % WINDOW] = y
                now[row, SAMPLES] += 1.0
                now[row, LAST_SECONDS] = seconds[t]


def _with_critical_values(now, recent, *rest):
    _run(now, recent, critical_values(), *rest)


class EsdDetector(CalibratedDetector):
    """The detector `esd`; see the module's docstring. State 584 bytes a series with its threshold."""

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        super().__init__(_with_critical_values, window_layout(WINDOW), budget_per_month, step_seconds)
