"""Matrix profile, online: how far the newest window is from the most similar one that the series has shown.

A discord is a window whose nearest neighbour is far, by Euclidean distance of the z-normalised
windows. For each sample only the newest window is compared with the kept ones (left matrix
profile), so nothing that came later changes what was said. Source: Yeh et al. (2016), Matrix
Profile I; Yeh et al. (2018), Time series joins, motifs, discords and shapelets, section 4.4 (STAMPI).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.detect.calibrated import (
    CENTRE,
    LAST_SECONDS,
    N_NOW,
    SAMPLES,
    SCALE_DOWN,
    SCALE_UP,
    CalibratedDetector,
)

WINDOW = 24
KEPT = 576
"""Samples that the newest window is compared with: two days at five minutes."""

LEAST = 3 * WINDOW
NEXT = WINDOW // 2
"""Windows that overlap the newest by more than half are the same event."""

FLAT = 0.15
"""Windows that vary less than this share of the series' own deviation are alike whatever their noise."""

MEMORY = 2000.0  # Samples after which the usual distance is forgotten.
TEACHES = 4.0

MEAN, SQUARE, USUAL, SPREAD = range(N_NOW, N_NOW + 4)


@njit(cache=True, nogil=True)
def _run(now, recent, seconds, x, value, yhat, down, up):
    window = np.empty(WINDOW)
    for row in range(x.shape[0]):
        s = now[row]
        for t in range(x.shape[1]):
            y = x[row, t]
            if not np.isfinite(y):
                continue
            n = int(s[SAMPLES])
            recent[row, n % KEPT] = y
            n += 1
            s[SAMPLES] = n
            s[LAST_SECONDS] = seconds[t]
            deviation = np.sqrt(s[SQUARE])
            if n >= LEAST:
                mean = 0.0
                for k in range(WINDOW):
                    window[k] = recent[row, (n - WINDOW + k) % KEPT]
                    mean += window[k] / WINDOW
                nearest = nearest_window(
                    recent[row], n, window, mean, FLAT * deviation + 1e-12 + 1e-6 * abs(s[MEAN])
                )
                compared = n - LEAST
                scale = max(deviation, 0.002 * abs(mean), 1e-9)
                s[CENTRE], s[SCALE_DOWN], s[SCALE_UP] = mean, scale, scale
                if compared >= WINDOW // 2:
                    yhat[row, t], down[row, t], up[row, t] = mean, scale, scale
                    unit = max(s[SPREAD], 0.02)
                    value[row, t] = max(nearest - s[USUAL], 0.0) / unit
                    nearest = min(nearest, s[USUAL] + TEACHES * unit)
                pace = max(1.0 / (compared + 1.0), 1.0 / MEMORY)
                s[USUAL] += pace * (nearest - s[USUAL])
                s[SPREAD] += pace * (abs(nearest - s[USUAL]) - s[SPREAD])
            if n == 1:
                s[MEAN] = y
            pace = max(1.0 / n, 1.0 / MEMORY)
            off = y - s[MEAN]
            if n > WINDOW:
                off = min(max(off, -6.0 * deviation - 1e-12), 6.0 * deviation + 1e-12)
            s[MEAN] += pace * off
            s[SQUARE] += pace * (off * off - s[SQUARE])


@njit(cache=True, inline="always")
def nearest_window(ring, n, window, mean, flat):
    """Distance of the newest window from the most similar kept one, 0 (the same) to 2 (the opposite)."""
    size = 0.0
    for k in range(WINDOW):
        size += (window[k] - mean) * (window[k] - mean)
    size = np.sqrt(size + WINDOW * flat * flat)
    first = max(n - KEPT, 0)
    total = square = 0.0
    for k in range(WINDOW):
        z = ring[(first + k) % KEPT] - mean
        total += z
        square += z * z
    best = np.inf
    for begin in range(first, n - WINDOW - NEXT + 1):
        product = 0.0
        at = begin % KEPT
        for k in range(WINDOW):
            product += (window[k] - mean) * (ring[at] - mean)
            at += 1
            if at == KEPT:
                at = 0
        own = max(square - total * total / WINDOW, 0.0) + WINDOW * flat * flat
        # The windows' flatness is as good as noise of that size that both share.
        like = (product + WINDOW * flat * flat) / (size * np.sqrt(own))
        best = min(best, max(1.0 - like, 0.0))
        gone, come = ring[begin % KEPT] - mean, ring[(begin + WINDOW) % KEPT] - mean
        total += come - gone
        square += come * come - gone * gone
    return np.sqrt(2.0 * best)


class DiscordDetector(CalibratedDetector):
    """The detector `matrix_profile`; see the module's docstring. State 4,736 bytes a series."""

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        super().__init__(
            _run,
            {"now": ((N_NOW + 4,), np.float64), "recent": ((KEPT,), np.float64)},
            budget_per_month,
            step_seconds,
            of_course=True,
            band=False,
        )
