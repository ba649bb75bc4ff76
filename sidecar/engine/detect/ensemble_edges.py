"""What a sharp edge of a season allows, inlined into the ensemble's loop.

A profile draws the jump of a daily job or of an opening hour as a slope. Around such a jump a sample may
be as the hours before it or as those after it; it is off only by what lies outside of both.
"""

from __future__ import annotations

from numba import njit

from sidecar.engine.detect.ensemble_parts import DAY_SECONDS

EDGE_SECONDS = 900.0
"""At longer steps a profile's bins hold single samples, and an edge is no slope."""

SHARP = 4.0
"""Where a profile bends by so many scales between neighbouring bins an edge begins to count, and does in
full at twice as many.
"""

MARGIN, ROOM = 1.0, 0.3
"""So many scales more are allowed, or noise on the one side that counts would add up; and that share of the
jump, since the bins of a job that is hardly longer than they are never reach its height.
"""


@njit(cache=True, inline="always")
def at_edge(bins, mass, row, first, second, value, known, scale):
    """How far below and above a profile's interpolated `value` its bins let a sample be; 0 if smooth."""
    n_bins = bins.shape[1]
    before, after = (first + n_bins - 1) % n_bins, (second + 1) % n_bins
    a, b, c, d = bins[row, before], bins[row, first], bins[row, second], bins[row, after]
    bend = max(abs(a - 2.0 * b + c), abs(b - 2.0 * c + d))
    if bend <= SHARP * scale or mass[row, before] <= known or mass[row, after] <= known:
        return 0.0, 0.0
    share = min(bend / (SHARP * scale) - 1.0, 1.0)
    lowest, highest = min(min(a, b), min(c, d)), max(max(a, b), max(c, d))
    room = MARGIN * scale + ROOM * (highest - lowest)
    return share * (value - lowest + room), share * (highest - value + room)


@njit(cache=True, inline="always")
def moved_since(day, row, first, second, share, seconds):
    """How far what the day's profile says is from what it said so many seconds ago."""
    n_bins = day.shape[1]
    ago = int(seconds * n_bins / DAY_SECONDS)
    now = (1.0 - share) * day[row, first] + share * day[row, second]
    then = (1.0 - share) * day[row, (first - ago) % n_bins] + share * day[row, (second - ago) % n_bins]
    return abs(now - then)


@njit(cache=True, inline="always")
def reach_of(centre, season, below, above):
    """How far below and above a centre that same range ends; 0 where there is none."""
    if below + above <= 0.0:
        return 0.0, 0.0
    return max(centre - season + below, 0.0), max(season + above - centre, 0.0)


@njit(cache=True, inline="always")
def beyond(error, below, above):
    """What of an error lies outside of the range around 0."""
    return error - above if error > above else (error + below if error < -below else 0.0)
