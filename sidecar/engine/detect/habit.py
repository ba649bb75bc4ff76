"""What happens at the same time of day again and again: a daily job is no incident the sixth time.

For each ten minutes of the day, how often of late something unusual happened in them
and how large it was. Once it has become a habit the threshold there is above its size.
Inlined into the ensemble's loop.
"""

from __future__ import annotations

from numba import njit

BINS = 144
BIN_SECONDS = 600.0
PACE = 0.2  # Share of what a visit teaches; five hits in a row make the frequency 0.67.
HABIT = 0.6  # From this frequency on it is a habit.
ROOM = 1.5  # A habit is exceeded by what is so many times its size.


@njit(cache=True, inline="always")
def habitual(frequency, size, row, now):
    """The largest habit of this time of day and of the ten minutes around it, 0 where there is none."""
    at = int(now % 86400.0 // BIN_SECONDS)
    largest = 0.0
    for side in range(-1, 2):
        near = (at + side) % BINS
        if frequency[row, near] >= HABIT:
            largest = max(largest, size[row, near])
    return largest * ROOM


@njit(cache=True, inline="always")
def visit(frequency, size, row, now, visited, largest, value, threshold):
    """Remember a judged value; a bin learns when it is left. Returns the bin's number and largest value."""
    at = now // BIN_SECONDS
    if at != visited:
        if visited > 0.0:
            left = int(visited) % BINS
            if largest > 1.0:
                known = frequency[row, left] > 0.1
                size[row, left] += (0.3 if known else 1.0) * (largest - size[row, left])
                frequency[row, left] += PACE * (1.0 - frequency[row, left])
            else:
                frequency[row, left] *= 1.0 - PACE
        largest = 0.0
    return at, max(largest, value / threshold)
