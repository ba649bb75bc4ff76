"""What recurs every hour (a job, a flush, a scrape of something dear): a profile of the hour by its minutes.

Inlined into the ensemble's loop, which judges what is left when the hour's part is taken off.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.detect.ensemble_parts import DAY_SECONDS, clip, memory
from sidecar.engine.detect.ensemble_state import (
    FAST,
    FIRST,
    LONG_MEAN,
    OFF_MINUTES,
    WITH_GROWING,
    WITH_MINUTES,
    WITHOUT_MINUTES,
)

MINUTES = 60
MINUTE_STEP_SECONDS = 200.0
"""At longer steps an hour's job is one sample or two, and moves between them."""

KNOWN_SECONDS = 6 * 3600.0  # So much is seen before the hour has a say.
LEAST_GAIN, FULL_GAIN = 1.3, 1.6
"""The hour's part is taken off where squared errors are so much smaller without it: partly, and wholly.

Squared, since it is the few large errors of a short job that would widen the band of all other minutes.
"""

HOURS_REMEMBERED = 24.0
QUICKER = 16.0
"""So many times as fast (an hour and a half) is followed how far off samples are on the whole, which is the
levels' to learn: a profile that held it would keep for good what the first day, still unknown, was off.
"""

GROWS, MOST_GROWTH = 0.8, 4.0
"""What serves users grows with them: where squared errors are so much smaller if an hour's part is as many
times its usual size as the level is, up to the second, it is taken to be so.
"""

SHARP_MINUTE, SIZE_VARIES = 4.0, 0.15
"""Where minutes differ by so many scales one early or late begins to be no error, and is none at twice as
many; and the job itself may be larger or smaller by that part of its size.
"""


@njit(cache=True, inline="always")
def share_of_hour(s, row, now, step):
    """How much of the hour's part is to be taken off, 0 to 1, by what it was worth lately."""
    if step > MINUTE_STEP_SECONDS or now - s[row, FIRST] < KNOWN_SECONDS:
        return 0.0
    worth = s[row, WITHOUT_MINUTES] / (min(s[row, WITH_MINUTES], s[row, WITH_GROWING]) + 1e-300)
    return min(max((worth - LEAST_GAIN) / (FULL_GAIN - LEAST_GAIN), 0.0), 1.0)


@njit(cache=True, inline="always")
def level_now(s, row):
    """How many times its usual size the level is just now."""
    usual = s[row, LONG_MEAN]
    return min(max(s[row, FAST] / usual, 0.0), MOST_GROWTH) if usual != 0.0 else 1.0


@njit(cache=True, inline="always")
def growth_of_hour(s, row):
    """How many times its usual size the hour's part is now: once, unless known to grow with the level."""
    return level_now(s, row) if s[row, WITH_GROWING] < GROWS * s[row, WITH_MINUTES] else 1.0


@njit(cache=True, inline="always")
def at_minute(minutes, row, minute, step, share, scale):
    """How far below and above its part the minutes before and after let a sample be."""
    apart = max(1, int(step / 60.0 + 0.5))
    before, here = minutes[row, (minute + MINUTES - apart) % MINUTES], minutes[row, minute]
    after = minutes[row, (minute + apart) % MINUTES]
    lowest, highest = min(here, min(before, after)), max(here, max(before, after))
    share *= min(max((highest - lowest) / (SHARP_MINUTE * scale) - 1.0, 0.0), 1.0)
    room = SIZE_VARIES * (highest - lowest)
    return share * (here - lowest + room), share * (highest - here + room)


@njit(cache=True, inline="always")
def learn_minute(s, minutes, row, minute, off, stands, samples, cap):
    """Learn how far `off` what is expected without the hour a sample was, and what knowing it was worth."""
    rate = memory(stands, DAY_SECONDS, samples)
    on_the_whole = s[row, OFF_MINUTES]
    s[row, OFF_MINUTES] += min(QUICKER * rate, 1.0) * clip(off - on_the_whole, cap)
    off -= on_the_whole
    s[row, WITHOUT_MINUTES] += rate * (min(abs(off), cap) ** 2 - s[row, WITHOUT_MINUTES])
    additive = off - minutes[row, minute]
    s[row, WITH_MINUTES] += rate * (min(abs(additive), cap) ** 2 - s[row, WITH_MINUTES])
    if s[row, WITHOUT_MINUTES] > LEAST_GAIN * s[row, WITH_MINUTES]:
        growing = off - level_now(s, row) * minutes[row, minute]
        s[row, WITH_GROWING] += rate * (min(abs(growing), cap) ** 2 - s[row, WITH_GROWING])
    else:
        s[row, WITH_GROWING] = s[row, WITH_MINUTES]  # Where nothing recurs nothing grows.
    hours_seen = samples * stands * (1.0 / 3600.0)
    rate = 1.0 / min(hours_seen + 1.0, HOURS_REMEMBERED)
    minutes[row, minute] += np.float32(min(stands * (1.0 / 60.0), 1.0) * rate * clip(additive, cap))
