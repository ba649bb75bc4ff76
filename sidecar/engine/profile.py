"""Seasonal profiles as arrays: reading and learning hour-of-day and hour-of-week bins.

numba inline functions, shared by the seasonal detector and forecaster. A profile
is a row of bins, one an hour, read by linear interpolation between bin centres;
`mass` is how many hours each bin has been visited for. Time is seconds since the
epoch, UTC; bin 0 of a week is Sunday 00:00, as in PromQL's `day_of_week()`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

HOURS_OF_DAY = 24
HOURS_OF_WEEK = 168
THURSDAY_HOURS = 96  # 1970-01-01 was a Thursday: hours from Sunday 00:00 to it.
VISITS_REMEMBERED = 4.0


@njit(cache=True, inline="always")
def place(seconds: float, n_bins: int, bins_per_hour: float) -> tuple[int, int, float]:
    """The two bins around a time on a ring of them, and the share of the second, by bin centres."""
    position = (seconds / 3600.0 + THURSDAY_HOURS) * bins_per_hour - 0.5
    position -= math.floor(position / n_bins) * n_bins
    first = int(position) % n_bins
    return first, (first + 1) % n_bins, position - math.floor(position)


@njit(cache=True)
def places(seconds, n_bins: int, bins_per_hour: float):
    """`place` of many times, as three arrays: found once, because they are the same for all rows."""
    first = np.empty(len(seconds), dtype=np.int64)
    second = np.empty(len(seconds), dtype=np.int64)
    share = np.empty(len(seconds))
    for t in range(len(seconds)):
        first[t], second[t], share[t] = place(seconds[t], n_bins, bins_per_hour)
    return first, second, share


@njit(cache=True, inline="always")
def read(bins, mass, row: int, seconds: float, n_bins: int) -> tuple[float, float]:
    """Interpolated value and the mass behind it, of bins of an hour; mass 0 where nothing is known."""
    first, second, share = place(seconds, n_bins, 1.0)
    return read_at(bins, mass, row, first, second, share)


@njit(cache=True, inline="always")
def read_at(bins, mass, row: int, first: int, second: int, share: float) -> tuple[float, float]:
    """As `read`, where the time's place is known: it is the same for all rows."""
    m1, m2 = mass[row, first], mass[row, second]
    # Selects, not branches with a return each: those cost four times as much.
    of_second = 1.0 if m1 <= 0.0 else (0.0 if m2 <= 0.0 else share)
    value = (1.0 - of_second) * bins[row, first] + of_second * bins[row, second]
    return value, (1.0 - share) * m1 + share * m2


@njit(cache=True, inline="always")
def of_both(of_day: float, day_loss: float, of_week: float, week_loss: float) -> float:
    """What a day's profile and a week's say together, weighted with the inverse fourth power of their losses.

    Over the better of both, or the powers of what is huge would all be 0.
    """
    best = min(day_loss, week_loss)
    day_weight, week_weight = (best / day_loss) ** 4, (best / week_loss) ** 4
    return (day_weight * of_day + week_weight * of_week) / (day_weight + week_weight)


@njit(cache=True, inline="always")
def teach(
    bins, mass, row: int, first: int, second: int, share: float, value: float, hours: float, remembered: float
) -> None:
    """Move two bins towards a value, each by its share of the `hours` it stood for.

    Each bin is a weighted mean of the values near it (a triangular kernel). It must
    not learn from the error of the interpolated profile: a bin would then make up for
    its neighbour's error by one of the opposite sign, and the profile would zigzag
    ever more. `remembered`: hours after which a bin forgets.
    """
    for side in range(2):
        b = first if side == 0 else second
        gained = hours * (1.0 - share if side == 0 else share)
        if gained <= 0.0:
            continue
        rate = max(gained / (mass[row, b] + gained), gained / remembered)
        bins[row, b] += min(rate, 1.0) * (value - bins[row, b])
        mass[row, b] += gained


@njit(cache=True, inline="always")
def learn(bins, mass, row: int, seconds: float, n_bins: int, value: float, hours: float) -> None:
    """`teach` the bins of an hour around a time."""
    first, second, share = place(seconds, n_bins, 1.0)
    teach(bins, mass, row, first, second, share, value, hours, VISITS_REMEMBERED)
