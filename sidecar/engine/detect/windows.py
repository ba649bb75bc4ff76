"""What the last samples of each series look like: six features of a window, in units of what is usual.

Level, slope, variance, lag-1 correlation, the share of slow movement in the spectrum, and the
distance from the profile of the week. Each is standardised by its own course on the series, as
it stood before the point, so that windows of a thousand series can be told apart by one model.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.arrays import RowArrays, measurements
from sidecar.engine.profile import HOURS_OF_WEEK, learn, read
from sidecar.series import FloatArray, SeriesBatch

WINDOW = 30
N_FEATURES = 6
NEWEST = 5
"""So many of the newest samples are the level; the last one alone would be noise."""

SLOW = 3
"""Periods of a third of the window and longer are slow."""

_ANGLES = 2 * np.pi * np.outer(np.arange(1, SLOW + 1), np.arange(WINDOW)) / WINDOW
_COSINES, _SINES = np.cos(_ANGLES), np.sin(_ANGLES)

MEMORY_SECONDS = 7 * 86400.0
TEACHES = 6.0
"""A feature is no further than so many deviations from its mean when it teaches what is usual."""

REACH = 12.0
"""Features beyond so many deviations are all the same: far."""

SAMPLES, LAST_SECONDS, MEAN, SQUARE, RESIDUAL = range(5)


@njit(cache=True, nogil=True)
def _features(course, recent, usual, deviation, week, week_mass, seconds, x, out, level):
    raw = np.empty(N_FEATURES)
    for row in range(x.shape[0]):
        s = course[row]
        for t in range(x.shape[1]):
            y = x[row, t]
            if not np.isfinite(y):
                continue
            n = int(s[SAMPLES])
            now = seconds[t]
            elapsed = min(max(now - s[LAST_SECONDS], 1.0), 6 * 3600.0) if n else 1.0
            pace = max(1.0 / (n + 1.0), 1.0 - np.exp(-elapsed / MEMORY_SECONDS))
            recent[row, n % WINDOW] = y
            s[SAMPLES] = n + 1.0
            s[LAST_SECONDS] = now
            scale = np.sqrt(s[SQUARE]) + 0.005 * abs(s[MEAN]) + 1e-12
            profiled, mass = read(week, week_mass, row, now, HOURS_OF_WEEK)
            residual = y - (profiled if mass > 0.0 else s[MEAN])
            if n >= WINDOW:
                level[row, t] = _of_window(recent[row], n + 1, s[MEAN], scale, raw)
                raw[5] = residual / max(s[RESIDUAL], 0.05 * scale)
                trained = n - WINDOW
                feature_pace = max(1.0 / (trained + 1.0), pace)
                for k in range(N_FEATURES):
                    off = raw[k] - usual[row, k]
                    unit = max(deviation[row, k], 0.02)
                    if trained >= 5:
                        out[row, t, k] = min(max(off / unit, -REACH), REACH)
                        off = min(max(off, -TEACHES * unit), TEACHES * unit)
                    usual[row, k] += feature_pace * off
                    deviation[row, k] += feature_pace * (1.2533 * abs(off) - deviation[row, k])
            # A wild sample moves what is usual no further than a few deviations.
            off = y - s[MEAN] if n else 0.0
            if n == 0:
                s[MEAN] = y
            if n >= 10:
                off = min(max(off, -TEACHES * scale), TEACHES * scale)
                residual = min(max(residual, -TEACHES * scale), TEACHES * scale)
            s[MEAN] += pace * off
            s[SQUARE] += pace * (off * off - s[SQUARE])
            s[RESIDUAL] += pace * (abs(residual) - s[RESIDUAL])
            learn(week, week_mass, row, now, HOURS_OF_WEEK, y, elapsed / 3600.0)


@njit(cache=True, inline="always")
def _of_window(ring, n, long_mean, scale, raw):
    """Features of the newest `WINDOW` samples of a ring, and their mean; `n` have been written."""
    mean = 0.0
    for k in range(WINDOW):
        mean += ring[k] / WINDOW
    newest = slope = square = lagged = power = slow = 0.0
    before = 0.0
    for k in range(WINDOW):
        at = ring[(n + k) % WINDOW] - mean  # Oldest first: n % WINDOW is the next to be overwritten.
        square += at * at
        slope += (k - 0.5 * (WINDOW - 1)) * at
        if k:
            lagged += at * before
        if k >= WINDOW - NEWEST:
            newest += at / NEWEST
        before = at
    for f in range(SLOW):
        re = im = 0.0
        for k in range(WINDOW):
            at = ring[(n + k) % WINDOW] - mean
            re += at * _COSINES[f, k]
            im += at * _SINES[f, k]
        slow += 2.0 * (re * re + im * im) / WINDOW
    power = square + 1e-3 * scale * scale * WINDOW
    raw[0] = (mean + newest - long_mean) / scale
    raw[1] = slope / ((WINDOW * WINDOW - 1) / 12.0) / scale
    raw[2] = 0.5 * np.log(power / (scale * scale * WINDOW))
    raw[3] = lagged / power
    raw[4] = slow / power
    return mean


class Windows(RowArrays):
    """The newest window of each row and what its features usually are; 1,720 bytes a series."""

    n_features = N_FEATURES

    def __init__(self) -> None:
        super().__init__(
            {
                "course": ((5,), np.float64),
                "recent": ((WINDOW,), np.float64),
                "usual": ((N_FEATURES,), np.float64),
                "deviation": ((N_FEATURES,), np.float64),
                "week": ((HOURS_OF_WEEK,), np.float32),
                "week_mass": ((HOURS_OF_WEEK,), np.float32),
            }
        )

    def features(self, batch: SeriesBatch) -> tuple[FloatArray, FloatArray]:
        """Features of the window that ends at each column, (N, T, 6), and its mean, (N, T); learns them.

        NaN where nothing can be said.
        """
        x = measurements(batch.values)
        out, level = np.full((*x.shape, N_FEATURES), np.nan), np.full(x.shape, np.nan)
        _features(*self._arrays(), batch.timestamps / 1000.0, x, out, level)
        return out, level


@njit(cache=True, nogil=True)
def _samples(course, recent, seconds, x, out, level):
    for row in range(x.shape[0]):
        s = course[row]
        for t in range(x.shape[1]):
            y = x[row, t]
            if not np.isfinite(y):
                continue
            n = int(s[SAMPLES])
            elapsed = min(max(seconds[t] - s[LAST_SECONDS], 1.0), 6 * 3600.0) if n else 1.0
            pace = max(1.0 / (n + 1.0), 1.0 - np.exp(-elapsed / MEMORY_SECONDS))
            recent[row, n % WINDOW] = y
            s[SAMPLES] = n + 1.0
            s[LAST_SECONDS] = seconds[t]
            scale = np.sqrt(s[SQUARE]) + 0.005 * abs(s[MEAN]) + 1e-12
            if n >= WINDOW + NEWEST:
                mean = 0.0
                for k in range(WINDOW):
                    at = recent[row, (n + 1 + k) % WINDOW]
                    mean += at / WINDOW
                    out[row, t, k] = min(max((at - s[MEAN]) / scale, -REACH), REACH)
                level[row, t] = mean
            off = y - s[MEAN] if n else 0.0
            if n == 0:
                s[MEAN] = y
            if n >= 10:
                off = min(max(off, -TEACHES * scale), TEACHES * scale)
            s[MEAN] += pace * off
            s[SQUARE] += pace * (off * off - s[SQUARE])


class Samples(RowArrays):
    """The newest window of each row itself, in deviations from the long mean; 280 bytes a series."""

    n_features = WINDOW

    def __init__(self) -> None:
        super().__init__({"course": ((5,), np.float64), "recent": ((WINDOW,), np.float64)})

    def features(self, batch: SeriesBatch) -> tuple[FloatArray, FloatArray]:
        """The window that ends at each column, (N, T, WINDOW), oldest first, and its mean, (N, T); learns it.

        NaN where nothing can be said.
        """
        x = measurements(batch.values)
        out, level = np.full((*x.shape, WINDOW), np.nan), np.full(x.shape, np.nan)
        _samples(*self._arrays(), batch.timestamps / 1000.0, x, out, level)
        return out, level
