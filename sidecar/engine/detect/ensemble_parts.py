"""The pieces of the default detector's loop, inlined into it, and what it expects of other times."""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.detect.ensemble_state import (
    DAY_BINS,
    DOWN,
    DOWN_SLOW,
    LONG_MEAN,
    LONG_SQUARE,
    LOSS,
    SAMPLES,
    SLOWEST,
    UP,
    UP_SLOW,
    WEEK_BINS,
)
from sidecar.engine.profile import of_both, place

DAY_SECONDS = 86400.0
SCALE_SECONDS, LONG_SECONDS = 7 * DAY_SECONDS, 7 * DAY_SECONDS
WARM_UP_SAMPLES = 20
NEW_NORMAL_SECONDS = 3600.0
"""An alarm that lasts so long, and once more for each unit of its worst score, to 4, is the new normal."""

CLIP_SCALE = 12.0  # In scales: how much one spike may widen the scale.
HOPELESS = 3.0  # A centre whose loss is so many times the best one's is left out.
SPREAD_FLOOR, LEVEL_FLOOR = 0.2, 0.005
POINT = 8.6
LOUD_SAMPLES = 20.0
"""So many samples of an hour of the day count as much as the rest of the day in how loud that hour is."""


@njit(cache=True, inline="always")
def mix(s, row, first, n, predictions, floor):
    """The mean of the centres, weighted with the inverse fourth power of their losses."""
    best = np.inf
    for k in range(n):
        if np.isfinite(predictions[k]):
            best = min(best, s[row, first + k])
    best += floor
    total = mixed = 0.0
    for k in range(n):
        if np.isfinite(predictions[k]):
            loss = s[row, first + k] + floor
            if loss < HOPELESS * best:
                weight = (best / loss) * (best / loss)
                weight *= weight
                total += weight
                mixed += weight * predictions[k]
    return mixed / total


@njit(cache=True, inline="always")
def clip(x, reach):
    """`x`, no further from 0 than `reach`."""
    return min(max(x, -reach), reach)


@njit(cache=True, inline="always")
def memory(dt, memory, n):
    """Learning rate of a mean: 1/n while young, then exponential with that memory in seconds."""
    return max(1.0 / (n + 1.0), dt / (memory + dt))


@njit(cache=True, inline="always")
def floor_of(s, row):
    """The least scale, tied to the series' own spread and level."""
    return SPREAD_FLOOR * np.sqrt(s[row, LONG_SQUARE]) + LEVEL_FLOOR * abs(s[row, LONG_MEAN]) + 1e-9


@njit(cache=True, inline="always")
def loudness(noise, mass, row, first, second, share, step_hours, repeat_share):
    """How large residuals are at this hour, in usual ones; few samples an hour are believed late."""
    known = min(mass[row, first], mass[row, second])
    of_hour = (1.0 - share) * noise[row, first] + share * noise[row, second]
    trust = known / (known + 2.0 + LOUD_SAMPLES * step_hours)
    # Where most samples repeat the one before (rare events), a quiet hour says little of the next.
    quietest = 0.5 if repeat_share < 0.3 else 1.0
    return min(max(1.0 + trust * (of_hour - 1.0), quietest), 4.0)


@njit(cache=True, nogil=True)
def expect(s, day, day_mass, week, week_mass, seconds, yhat, down, up):
    """The seasons alone: the levels of this moment say nothing of other hours."""
    known = 0.2 * 24.0 / DAY_BINS
    for row in range(yhat.shape[0]):
        if s[row, SAMPLES] <= 0.0:
            continue
        spread = 1e-12 + 1e-3 * np.sqrt(s[row, LONG_SQUARE])
        floor = floor_of(s, row)
        # Of an hour ahead no more is known than the slow centres know: their scale is the honest one.
        below = max(s[row, DOWN_SLOW], s[row, DOWN], floor)
        above = max(s[row, UP_SLOW], s[row, UP], floor)
        for t in range(yhat.shape[1]):
            d0, d1, d_share = place(seconds[t], DAY_BINS, DAY_BINS / 24.0)
            w0, w1, w_share = place(seconds[t], WEEK_BINS, 1.0)
            centre = s[row, SLOWEST]
            if day_mass[row, d0] > known and day_mass[row, d1] > known:
                of_day = (1.0 - d_share) * day[row, d0] + d_share * day[row, d1]
                centre = of_day
                if week_mass[row, w0] > 0.25 and week_mass[row, w1] > 0.25:
                    of_week = (1.0 - w_share) * week[row, w0] + w_share * week[row, w1]
                    centre = of_both(of_day, s[row, LOSS + 7] + spread, of_week, s[row, LOSS + 8] + spread)
            yhat[row, t] = centre
            down[row, t], up[row, t] = POINT * below, POINT * above
