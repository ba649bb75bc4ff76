"""Spectral residual: what stands out of a window once its usual spectrum is taken away.

The log amplitude of the window's Fourier transform less its own running mean, back in time, is
high where the series does what its periods do not explain. A few points are extrapolated
behind the newest, so that it does not lie on the edge. Source: Ren et al. (2019),
Time-Series Anomaly Detection Service at Microsoft; its constants q = 3, z = 21, m = 5, k = 5.
"""

from __future__ import annotations

import numpy as np

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
from sidecar.series import FloatArray, TimeArray

WINDOW = 64
AVERAGED = 3
BEFORE = 21
SLOPES, BEYOND = 5, 5


def saliency(window: FloatArray) -> FloatArray:
    """How much each point of each row stands out, (n, T), at least 0."""
    spectrum = np.fft.rfft(window, axis=1)
    amplitude = np.abs(spectrum) + 1e-9
    log = np.log(amplitude)
    padded = np.concatenate([np.repeat(log[:, :1], AVERAGED - 1, axis=1), log], axis=1)
    sums = padded.cumsum(axis=1)
    means = (sums[:, AVERAGED - 1 :] - np.pad(sums[:, :-AVERAGED], ((0, 0), (1, 0)))) / AVERAGED
    residual = np.exp(log - means)
    return np.asarray(np.abs(np.fft.irfft(residual * spectrum / amplitude, n=window.shape[1], axis=1)))


def _extended(window: FloatArray) -> FloatArray:
    """The window with points behind its newest, from the mean slope towards it."""
    newest = window[:, -1:]
    earlier = window[:, -1 - SLOPES : -1]
    slope = ((newest - earlier) / np.arange(SLOPES, 0, -1)).mean(axis=1, keepdims=True)
    beyond = earlier[:, :1] + slope * SLOPES
    return np.concatenate([window, np.repeat(beyond, BEYOND, axis=1)], axis=1)


def _run(
    now: FloatArray,
    recent: FloatArray,
    seconds: TimeArray,
    x: FloatArray,
    value: FloatArray,
    yhat: FloatArray,
    down: FloatArray,
    up: FloatArray,
) -> None:
    for t in range(x.shape[1]):
        rows = np.flatnonzero(np.isfinite(x[:, t]))
        if not len(rows):
            continue
        ready = rows[now[rows, SAMPLES] >= WINDOW]
        if len(ready):
            past = recent[ready]
            centre, spread = past.mean(axis=1), past.std(axis=1)
            scale = np.maximum(np.maximum(spread, LEVEL_FLOOR * np.abs(centre)), 1e-9)
            window = np.concatenate([past[:, 1:], x[ready, t : t + 1]], axis=1)
            # Standardised, so that the logarithm's floor means the same for all series.
            found = saliency(_extended((window - centre[:, None]) / scale[:, None]))
            usual = found[:, WINDOW - 1 - BEFORE : WINDOW - 1].mean(axis=1)
            value[ready, t] = np.maximum(found[:, WINDOW - 1] / np.maximum(usual, 1e-9) - 1.0, 0.0)
            yhat[ready, t], down[ready, t], up[ready, t] = centre, scale, scale
            now[ready, CENTRE], now[ready, SCALE_DOWN], now[ready, SCALE_UP] = centre, scale, scale
        recent[rows, :-1] = recent[rows, 1:]
        recent[rows, -1] = x[rows, t]
        now[rows, SAMPLES] += 1.0
        now[rows, LAST_SECONDS] = seconds[t]


class SpectralDetector(CalibratedDetector):
    """The detector `spectral_residual`; see the module's docstring. State 608 bytes a series."""

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        super().__init__(_run, window_layout(WINDOW), budget_per_month, step_seconds, of_course=True)
