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
def learn_visit(frequency, size, row, visited, largest):
    """Let ten minutes that are over teach their time of day; by how many there are more habits now.

    `visited`: their number since the epoch; `largest`: their largest statistic, in thresholds.
    """
    at = int(visited) % BINS
    before = frequency[row, at]
    if largest > 1.0:
        size[row, at] += (0.3 if before > 0.1 else 1.0) * (largest - size[row, at])
        frequency[row, at] += PACE * (1.0 - before)
    elif before > 0.0:
        frequency[row, at] = before * (1.0 - PACE) if before > 0.01 else 0.0
    return (1.0 if frequency[row, at] >= HABIT else 0.0) - (1.0 if before >= HABIT else 0.0)
