"""Exponential smoothing with a damped trend (Holt 1957; Gardner & McKenzie 1985), the pace learnt per series.

Three paces run beside each other; the one whose one-step errors were smallest of
late predicts. statsmodels fits such a model by likelihood on a whole history; here
it has to be online and cost less than a microsecond, so the paces are a fixed grid
and the choice between them is prequential.
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

PACES = (0.03, 0.15, 0.6)
TREND_SHARE = 0.05  # The trend moves by this share of what the level moves.
DAMPING = 0.98
LEAST = 20
LOSS_SAMPLES, SCALE_SAMPLES = 720.0, 1440.0
CLIP = 8.0  # In scales: how far one point may pull a level, and how much it may widen the scale.
LEVEL, TREND, LOSS = range(3)


@njit(cache=True, nogil=True)
def _run(now, paces, seconds, x, value, yhat, down, up):
    n_rows, n_steps = x.shape
    for row in range(n_rows):
        state = paces[row]
        for t in range(n_steps):
            y = x[row, t]
            n = now[row, SAMPLES]
            if n == 0.0:
                if np.isfinite(y):
                    state[:, LEVEL] = y
                    now[row, SAMPLES], now[row, CENTRE] = 1.0, y
                continue
            best = 0
            for k in range(len(PACES)):
                if state[k, LOSS] < state[best, LOSS]:
                    best = k
            centre = state[best, LEVEL] + DAMPING * state[best, TREND]
            floor = LEVEL_FLOOR * abs(centre) + 1e-9
            scale_down, scale_up = max(now[row, SCALE_DOWN], floor), max(now[row, SCALE_UP], floor)
            now[row, CENTRE] = centre
            yhat[row, t] = centre
            if n >= LEAST:
                down[row, t], up[row, t] = scale_down, scale_up
                value[row, t] = (y - centre) / scale_up if y > centre else (centre - y) / scale_down
            if not np.isfinite(y):
                continue
            error = y - centre
            scale = scale_up if error > 0.0 else scale_down
            reach = CLIP * scale if n >= LEAST else np.inf
            for k in range(len(PACES)):
                predicted = state[k, LEVEL] + DAMPING * state[k, TREND]
                off = min(max(y - predicted, -reach), reach)
                rate = max(1.0 / (n + 1.0), 1.0 / LOSS_SAMPLES)
                state[k, LOSS] += rate * (abs(off) - state[k, LOSS])
                moved = max(1.0 / (n + 1.0), PACES[k]) * off
                state[k, LEVEL] = predicted + moved
                state[k, TREND] = DAMPING * state[k, TREND] + TREND_SHARE * moved
            size = min(abs(error), reach)
            rate = max(2.0 / (n + 1.0), 2.0 / SCALE_SAMPLES)
            side = SCALE_UP if error > 0.0 else SCALE_DOWN
            now[row, side] += min(rate, 1.0) * (size - now[row, side])
            if n < 5.0:
                now[row, SCALE_UP] = now[row, SCALE_DOWN] = max(now[row, SCALE_UP], now[row, SCALE_DOWN])
            now[row, SAMPLES] = n + 1.0
            now[row, LAST_SECONDS] = seconds[t]


class SmoothingDetector(CalibratedDetector):
    """The detector `smoothing`; see the module's docstring. State 168 bytes a series with its threshold."""

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        layout = {"now": ((N_NOW,), np.float64), "paces": ((len(PACES), 3), np.float64)}
        super().__init__(_run, layout, budget_per_month, step_seconds)
