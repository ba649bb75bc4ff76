"""Samples of an impossible size, alone or in twos, that no rule of a forecast is to learn from.

A glitch (`nature.py`) is another thing: once in all of the past, a hundred times as far off, and longer.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.series import FloatArray

TAIL = 0.01
"""The range that counts is without so much at either end: what comes more often is how the series is."""
RANGES = 3.0
"""So many such ranges beyond its ends lies what is no life of this series."""
LONGEST = 2
"""More in a row are an incident or a new level, and count as they are."""
KNOWN = 200
"""Fewer samples have no tails."""
GROWTH = 1.3
"""The range is taken anew when there are so many times as many samples."""


def without_spikes(y: FloatArray, day: int) -> FloatArray:
    """`y` (n,) with the sample before in place of each spike; what stands at `i` depends on none after it.

    A spike lies `RANGES` ranges beyond all but the outer hundredths of what was before, has at most
    one beside it, and none like it a day before (`day` steps; 0: no day is known).
    """
    low, high = np.full(len(y), -np.inf), np.full(len(y), np.inf)
    at = KNOWN
    while at < len(y):
        until = max(int(at * GROWTH), at + 1)
        first, last = np.quantile(y[:at], (TAIL, 1.0 - TAIL))
        beyond = RANGES * (last - first)
        if beyond > 0.0:
            low[at:until], high[at:until] = first - beyond, last + beyond
        at = until
    if not ((y < low) | (y > high)).any():
        return y
    return _replace(y, low, high, day)


@njit(cache=True, nogil=True)
def _replace(y, low, high, day):
    out = y.copy()
    run = 0
    for i in range(1, len(y)):
        if low[i] <= y[i] <= high[i]:
            run = 0
            continue
        run += 1
        if run > LONGEST:
            continue
        above = y[i] > high[i]
        known = False
        if i > day > 0:
            for j in range(max(i - day - 1, 0), i - day + 2):
                known = known or (y[j] > high[i] if above else y[j] < low[i])
        if not known:
            out[i] = out[i - 1]
    return out
