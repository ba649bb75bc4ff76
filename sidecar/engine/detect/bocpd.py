"""Bayesian online change point detection (Adams & MacKay 2007), robust against single spikes.

For each series the probability of every length of the current run, under a Gaussian
with unknown mean and variance (a normal-inverse-gamma prior); runs beyond the longest
kept are one. The statistic is the probability that a new run of some samples has begun,
times how far its mean lies from the level of the last hours, in mean distances from it.
The median of three samples is judged, so a lone spike begins no run.
"""

from __future__ import annotations

import math

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

RUNS = 64
EARLY = 12  # A run of three to so many samples is a new one.
HAZARD = 1.0 / 1440.0
PRIOR_KAPPA, PRIOR_ALPHA = 0.1, 1.0
MOST_ALPHA = 30.0  # So much evidence at most: tails stay heavier than a Gaussian's.
LEAST = 30
CENTRE_SAMPLES, SCALE_SAMPLES = 120.0, 1440.0
CLIP = 8.0  # In scales: how far one sample may pull the level, and widen the scale.
BEFORE, BEFORE_THAT = N_NOW, N_NOW + 1
MASS, MEAN, KAPPA, ALPHA, BETA = range(5)


@njit(cache=True, inline="always")
def _student(z, alpha, beta, kappa):
    """Density of the next value under one run: a Student t with 2 alpha degrees of freedom."""
    width = beta * (kappa + 1.0) / (alpha * kappa)
    level = math.lgamma(alpha + 0.5) - math.lgamma(alpha) - 0.5 * math.log(2.0 * math.pi * alpha * width)
    return math.exp(level - (alpha + 0.5) * math.log1p(z * z / (2.0 * alpha * width)))


@njit(cache=True, inline="always")
def _step(r, y, prior_mean, prior_beta):
    """Let one value in: every run grows by one, or a new one begins.

    Returns the probability of an early run, and its mean times that.
    """
    grown = 0.0
    begun = 0.0
    for k in range(RUNS):
        if r[k, MASS] > 0.0:
            density = _student(y - r[k, MEAN], r[k, ALPHA], r[k, BETA], r[k, KAPPA])
            mass = r[k, MASS] * density
            begun += mass * HAZARD
            r[k, MASS] = mass * (1.0 - HAZARD)
            gain = 1.0 / (r[k, KAPPA] + 1.0)
            off = y - r[k, MEAN]
            r[k, BETA] += 0.5 * r[k, KAPPA] * gain * off * off
            r[k, MEAN] += gain * off
            r[k, ALPHA] += 0.5
            r[k, KAPPA] += 1.0
            if r[k, ALPHA] > MOST_ALPHA:
                r[k, BETA] *= MOST_ALPHA / r[k, ALPHA]
                r[k, KAPPA] *= MOST_ALPHA / r[k, ALPHA]
                r[k, ALPHA] = MOST_ALPHA
            grown += r[k, MASS]
    total = grown + begun
    if not total > 1e-280:
        # All runs find it impossible: something has begun.
        for k in range(RUNS):
            r[k, MASS] = 0.0
        begun = total = 1.0
    # The two longest become one, which is the likelier of them; the others move up.
    last, longer = RUNS - 1, RUNS - 2
    merged = r[last, MASS] + r[longer, MASS]
    if r[longer, MASS] > r[last, MASS]:
        r[last] = r[longer]
    r[last, MASS] = merged
    for k in range(longer, 0, -1):
        r[k] = r[k - 1]
    r[0, MASS], r[0, MEAN], r[0, KAPPA] = begun, prior_mean, PRIOR_KAPPA
    r[0, ALPHA], r[0, BETA] = PRIOR_ALPHA, prior_beta
    early = weighed = 0.0
    for k in range(RUNS):
        r[k, MASS] /= total
        if 3 <= k < EARLY:
            early += r[k, MASS]
            weighed += r[k, MASS] * r[k, MEAN]
    return early, weighed


@njit(cache=True, nogil=True)
def _run(now, runs, seconds, x, value, yhat, down, up):
    n_rows, n_steps = x.shape
    for row in range(n_rows):
        r = runs[row]
        for t in range(n_steps):
            y = x[row, t]
            n = now[row, SAMPLES]
            if n >= 2.0:
                scale = max(now[row, SCALE_UP], LEVEL_FLOOR * abs(now[row, CENTRE]), 1e-9)
                yhat[row, t] = now[row, CENTRE]
                if n >= LEAST:
                    down[row, t] = up[row, t] = scale
            if not np.isfinite(y):
                continue
            first, second = now[row, BEFORE], now[row, BEFORE_THAT]
            now[row, BEFORE_THAT], now[row, BEFORE] = first, y
            now[row, SAMPLES] = n + 1.0
            now[row, LAST_SECONDS] = seconds[t]
            if n < 2.0:
                now[row, CENTRE] = y
                continue
            middle = max(min(y, first), min(max(y, first), second))
            beta = 0.5 * scale * scale
            if n == 2.0:
                r[0, MASS], r[0, MEAN], r[0, KAPPA], r[0, ALPHA], r[0, BETA] = 1.0, middle, 1.0, 1.0, beta
            early, weighed = _step(r, middle, middle, beta)
            if n >= LEAST:
                value[row, t] = abs(weighed - early * now[row, CENTRE]) / scale
            off = middle - now[row, CENTRE]
            reach = CLIP * scale if n >= LEAST else np.inf
            now[row, SCALE_UP] += max(1.0 / n, 1.0 / SCALE_SAMPLES) * (
                min(abs(off), reach) - now[row, SCALE_UP]
            )
            now[row, SCALE_DOWN] = now[row, SCALE_UP]
            now[row, CENTRE] += max(1.0 / n, 1.0 / CENTRE_SAMPLES) * min(max(off, -reach), reach)


class BocpdDetector(CalibratedDetector):
    """The detector `bocpd`; see the module's docstring. State 2,672 bytes a series with its threshold."""

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        layout = {"now": ((N_NOW + 2,), np.float64), "runs": ((RUNS, 5), np.float64)}
        super().__init__(_run, layout, budget_per_month, step_seconds, of_course=True, band=False)
