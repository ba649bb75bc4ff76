"""Two cumulative sums of standardised residuals, one for each side (Page 1954).

What a single point cannot show adds up: a shift of one and a half scales is seen after
some ten samples. A sum is cut to what a few points can bring it to, so that a spike leaves no
memory, and it fades within hours, so that a shift that stays is one event.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.detect.calibrated import (
    CENTRE,
    LAST_SECONDS,
    LEVEL_FLOOR,
    MAX_GAP_SECONDS,
    N_NOW,
    SAMPLES,
    SCALE_DOWN,
    SCALE_UP,
    CalibratedDetector,
)

ALLOWANCE = 1.0  # In mean absolute residuals: shifts of no more do not add up.
POINT_CLIP = 4.0  # A point counts no more than this: a spike is not a shift.
CENTRE_SECONDS, SCALE_SECONDS, FADE_SECONDS = 6 * 3600.0, 2 * 86400.0, 2 * 3600.0
LEAST = 30
ABOVE, BELOW = N_NOW, N_NOW + 1


@njit(cache=True, nogil=True)
def _run(now, seconds, x, value, yhat, down, up):
    n_rows, n_steps = x.shape
    for row in range(n_rows):
        for t in range(n_steps):
            y = x[row, t]
            n = now[row, SAMPLES]
            if n == 0.0:
                if np.isfinite(y):
                    now[row, CENTRE], now[row, SAMPLES], now[row, LAST_SECONDS] = y, 1.0, seconds[t]
                continue
            centre = now[row, CENTRE]
            scale = max(now[row, SCALE_UP], LEVEL_FLOOR * abs(centre), 1e-9)
            yhat[row, t] = centre
            if n >= LEAST:
                down[row, t] = up[row, t] = scale
            if not np.isfinite(y):
                continue
            dt = min(max(seconds[t] - now[row, LAST_SECONDS], 1e-3), MAX_GAP_SECONDS)
            z = (y - centre) / scale
            if n >= LEAST:
                fade = np.exp(-dt / FADE_SECONDS)
                step = min(max(z, -POINT_CLIP), POINT_CLIP)
                now[row, ABOVE] = max(fade * now[row, ABOVE] + step - ALLOWANCE, 0.0)
                now[row, BELOW] = max(fade * now[row, BELOW] - step - ALLOWANCE, 0.0)
                value[row, t] = max(now[row, ABOVE], now[row, BELOW])
            reach = POINT_CLIP * scale if n >= LEAST else np.inf
            error = min(max(y - centre, -reach), reach)
            now[row, CENTRE] += max(1.0 / (n + 1.0), dt / (CENTRE_SECONDS + dt)) * error
            size = max(1.0 / (n + 1.0), dt / (SCALE_SECONDS + dt)) * (abs(error) - now[row, SCALE_UP])
            now[row, SCALE_UP] += size
            now[row, SCALE_DOWN] = now[row, SCALE_UP]
            now[row, SAMPLES] = n + 1.0
            now[row, LAST_SECONDS] = seconds[t]


class CusumDetector(CalibratedDetector):
    """The detector `cusum`; see the module's docstring. State 112 bytes a series with its threshold."""

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        layout = {"now": ((N_NOW + 2,), np.float64)}
        super().__init__(_run, layout, budget_per_month, step_seconds, of_course=True, band=False)
