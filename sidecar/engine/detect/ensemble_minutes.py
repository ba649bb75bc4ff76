"""What recurs every hour (a job, a flush, a scrape of something dear): a profile of the hour by its minutes.

Inlined into the ensemble's loop, which judges what is left when the hour's part is taken off.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.detect.ensemble_parts import DAY_SECONDS, clip, memory
from sidecar.engine.detect.ensemble_state import FIRST, WITH_MINUTES, WITHOUT_MINUTES

MINUTES = 60
MINUTE_STEP_SECONDS = 200.0
"""At longer steps an hour's job is one sample or two, and moves between them."""

KNOWN_SECONDS = 6 * 3600.0  # So much is seen before the hour has a say.
LEAST_GAIN, FULL_GAIN = 1.3, 1.6
"""The hour's part is taken off where squared errors are so much smaller without it: partly, and wholly.

Squared, since it is the few large errors of a short job that would widen the band of all other minutes.
"""

HOURS_REMEMBERED = 24.0
SHARP_MINUTE, SIZE_VARIES = 4.0, 0.15
"""Where minutes differ by so many scales one early or late begins to be no error, and is none at twice as
many; and the job itself may be larger or smaller by that part of its size.
"""


@njit(cache=True, inline="always")
def share_of_hour(s, row, now, step):
    """How much of the hour's part is to be taken off, 0 to 1, by what it was worth lately."""
    if step > MINUTE_STEP_SECONDS or now - s[row, FIRST] < KNOWN_SECONDS:
        return 0.0
    worth = s[row, WITHOUT_MINUTES] / (s[row, WITH_MINUTES] + 1e-300)
    return min(max((worth - LEAST_GAIN) / (FULL_GAIN - LEAST_GAIN), 0.0), 1.0)


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
    s[row, WITHOUT_MINUTES] += rate * (min(abs(off), cap) ** 2 - s[row, WITHOUT_MINUTES])
    off -= minutes[row, minute]
    s[row, WITH_MINUTES] += rate * (min(abs(off), cap) ** 2 - s[row, WITH_MINUTES])
    hours_seen = samples * stands / 3600.0
    rate = max(1.0 / (hours_seen + 1.0), 1.0 / HOURS_REMEMBERED)
    minutes[row, minute] += np.float32(min(stands / 60.0, 1.0) * rate * clip(off, cap))
