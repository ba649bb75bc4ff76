"""What an alarm does to the ensemble's levels: remembered at its start, undone or accepted at its end.

Inlined into the ensemble's loop.
"""

from __future__ import annotations

from numba import njit

from sidecar.engine.detect.ensemble_state import (
    ACCEPTED,
    DAY_LEVEL,
    DAY_SLOW,
    FAST,
    LAST,
    LONG_MEAN,
    LONGEST,
    LOSS,
    N_ACCEPTED,
    N_HOURS,
    N_SAVED,
    OUTSIDE_SECONDS,
    REPEATS,
    SAVED,
    SLOWER,
    SLOWEST,
    SUM_5,
    SUM_15,
    TREND,
    TREND_LEVEL,
    USUAL_REPEATS,
    WEEK_LEVEL,
    WEEK_SLOW,
)

DISTRUST = 4.0
"""By so much an accepted shift raises the losses of the profiles: the new level may have another shape."""


@njit(cache=True, inline="always")
def saved_at(k):
    """Which scalar the k-th saved one is: the five quick levels, then those above the profiles."""
    return FAST if k == 0 else SLOWER if k == 1 else LAST + k - 2 if k < 5 else DAY_LEVEL + k - 5


@njit(cache=True, inline="always")
def save_levels(s, row):
    """Remember what an alarm is about to move."""
    for k in range(N_SAVED):
        s[row, SAVED + k] = s[row, saved_at(k)]


@njit(cache=True, inline="always")
def undo_alarm(s, row, recent, quick, kept, earlier, by_season):
    """The incident is over, and what it taught is undone, or the recovery would be the next incident."""
    for k in range(N_SAVED):
        s[row, saved_at(k)] = s[row, SAVED + k]
    if by_season:
        for k in (FAST, SLOWER, LAST, TREND_LEVEL):
            s[row, k] = earlier
        kept[0] = kept[1] = kept[4] = kept[5] = earlier
    for k in range(6):
        quick[k] = kept[k]
    for k in range(LONGEST):
        recent[row, k] = 0.0


@njit(cache=True, inline="always")
def accept(s, row, y, recent, daily, of_day, weekly, of_week, now):
    """All levels stand where the series stands, and it is as after an alarm's end."""
    for k in (FAST, SLOWER, SLOWEST, LAST, TREND_LEVEL, LONG_MEAN):
        s[row, k] = y
    s[row, TREND] = 0.0
    if daily:
        s[row, DAY_LEVEL], s[row, DAY_SLOW] = y - of_day, y - of_day
    if weekly:
        s[row, WEEK_LEVEL], s[row, WEEK_SLOW] = y - of_week, y - of_week
    for k in (2, 3, 7, 8):
        s[row, LOSS + k] *= DISTRUST
    save_levels(s, row)
    s[row, USUAL_REPEATS] = max(s[row, USUAL_REPEATS], s[row, REPEATS])
    s[row, OUTSIDE_SECONDS] = s[row, N_HOURS] = 0.0
    s[row, SUM_5] = s[row, SUM_15] = 0.0
    for k in range(LONGEST):
        recent[row, k] = 0.0
    s[row, ACCEPTED] = now
    s[row, N_ACCEPTED] += 1.0
