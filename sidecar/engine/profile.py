"""Seasonal profiles as arrays: reading and learning hour-of-day and hour-of-week bins.

numba inline functions, shared by the seasonal detector and forecaster. A profile
is a row of bins, one an hour, read by linear interpolation between bin centres;
`mass` is how many hours each bin has been visited for. Time is seconds since the
epoch, UTC; bin 0 of a week is Sunday 00:00, as in PromQL's `day_of_week()`.
"""

from __future__ import annotations

import math

from numba import njit

HOURS_OF_DAY = 24
HOURS_OF_WEEK = 168
THURSDAY_HOURS = 96  # 1970-01-01 was a Thursday: hours from Sunday 00:00 to it.
VISITS_REMEMBERED = 4.0


@njit(cache=True, inline="always")
def hour_position(seconds: float, n_bins: int) -> float:
    """Where a time lies on the ring of bins, in bins, relative to bin centres."""
    position = seconds / 3600.0 + THURSDAY_HOURS - 0.5
    return position - math.floor(position / n_bins) * n_bins


@njit(cache=True, inline="always")
def read(bins, mass, row: int, seconds: float, n_bins: int) -> tuple[float, float]:
    """Interpolated value and the mass behind it; mass 0 where nothing is known."""
    position = hour_position(seconds, n_bins)
    first = int(position) % n_bins
    second = (first + 1) % n_bins
    share = position - math.floor(position)
    m1 = mass[row, first]
    m2 = mass[row, second]
    if m1 <= 0.0 and m2 <= 0.0:
        return 0.0, 0.0
    if m1 <= 0.0:
        return bins[row, second], m2 * share
    if m2 <= 0.0:
        return bins[row, first], m1 * (1.0 - share)
    return (1.0 - share) * bins[row, first] + share * bins[row, second], (1.0 - share) * m1 + share * m2


@njit(cache=True, inline="always")
def learn(bins, mass, row: int, seconds: float, n_bins: int, value: float, hours: float) -> None:
    """Move the two bins around a time towards a value, each by its share of the `hours` it stood for.

    Each bin is a weighted mean of the values near it (a triangular kernel). It must
    not learn from the error of the interpolated profile: a bin would then make up for
    its neighbour's error by one of the opposite sign, and the profile would zigzag
    ever more.
    """
    position = hour_position(seconds, n_bins)
    first = int(position) % n_bins
    share = position - math.floor(position)
    for side in range(2):
        b = first if side == 0 else (first + 1) % n_bins
        gained = hours * (1.0 - share if side == 0 else share)
        if gained <= 0.0:
            continue
        rate = max(gained / (mass[row, b] + gained), gained / VISITS_REMEMBERED)
        bins[row, b] += min(rate, 1.0) * (value - bins[row, b])
        mass[row, b] += gained
