"""Distance from the median of the last 61 samples in units of their median absolute deviation.

The identifier of Hampel (1974) as a causal filter: the point itself is not in its
window. Blind to slow drifts and shifts by design; what it sees is the lone outlier.
"""

from __future__ import annotations

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

WINDOW = 61
LEAST = 20  # Samples before anything is said.
TO_SIGMA = 1.4826  # Of the MAD of a Gaussian.
MEAN_SHARE = 0.5  # The scale is at least so much of the mean deviation: a MAD of counts is often zero.


@njit(cache=True, nogil=True)
def _run(now, recent, seconds, x, value, yhat, down, up):
    n_rows, n_steps = x.shape
    apart = np.empty(WINDOW)
    for row in range(n_rows):
        for t in range(n_steps):
            y = x[row, t]
            n = int(now[row, SAMPLES])
            if n >= LEAST:
                size = min(n, WINDOW)
                centre = np.median(recent[row, :size])
                mean = 0.0
                for k in range(size):
                    apart[k] = abs(recent[row, k] - centre)
                    mean += apart[k] / size
                spread = TO_SIGMA * np.median(apart[:size])
                scale = max(spread, MEAN_SHARE * mean, LEVEL_FLOOR * abs(centre), 1e-9)
                now[row, CENTRE], now[row, SCALE_DOWN], now[row, SCALE_UP] = centre, scale, scale
                yhat[row, t], down[row, t], up[row, t] = centre, scale, scale
                value[row, t] = abs(y - centre) / scale
            if np.isfinite(y):
                recent[row, n % WINDOW] = y
                now[row, SAMPLES] += 1.0
                now[row, LAST_SECONDS] = seconds[t]


class HampelDetector(CalibratedDetector):
    """The detector `hampel`; see the module's docstring. State 584 bytes a series with its threshold."""

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        super().__init__(_run, window_layout(WINDOW), budget_per_month, step_seconds)
