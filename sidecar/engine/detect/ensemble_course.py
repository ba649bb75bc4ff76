"""Two questions of the ensemble about a series' course: does a day drift from its week, does it stand still?

No single value is out of place in either. Inlined into the ensemble's loop.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sidecar.engine.detect.ensemble_parts import CLIP_SCALE, LONG_SECONDS, NEW_NORMAL_SECONDS, memory
from sidecar.engine.detect.ensemble_state import (
    ACCEPTED,
    DAY_MEAN,
    DRIFT,
    HOUR_AT,
    HOUR_COUNT,
    HOUR_SUM,
    HOURS,
    N_HOURS,
    OUTSIDE_SECONDS,
    REPEAT_SHARE,
    REPEATS,
    SAVED_VALUE,
    USUAL_DAY,
    USUAL_REPEATS,
)
from sidecar.engine.protocols import STANDS_STILL

RARE_REPEATS = 0.01  # A series of whom more samples repeat the one before is not watched for standing still.
SHAPE_SAMPLES = 500  # So much is seen before a lack of change, or a drift, is called unusual.


@njit(cache=True, inline="always")
def ask_course(s, row, now, y, dt, threshold, unit_of_drift, unit_of_run, scale):
    """The larger answer, which of `sidecar.series.SHAPES` is beyond the threshold, and the drift."""
    settled = s[row, ACCEPTED] == 0.0 or now - s[row, ACCEPTED] > LONG_SECONDS
    drifted = s[row, DAY_MEAN] - s[row, USUAL_DAY] if settled else 0.0
    answer = abs(drifted) / (unit_of_drift * max(s[row, DRIFT], 0.5 * scale))
    shape = 0
    if answer > threshold:
        shape = 1 if drifted > 0.0 else -1
        if s[row, OUTSIDE_SECONDS] >= NEW_NORMAL_SECONDS - dt:
            # A drift is told of for an hour; the next one is told of from here.
            s[row, USUAL_DAY] = s[row, DAY_MEAN]
    if s[row, REPEAT_SHARE] < RARE_REPEATS:
        repeats = s[row, REPEATS] + 1.0 if y == s[row, SAVED_VALUE] else 0.0
        answer = max(answer, repeats / (1.9 + unit_of_run * s[row, USUAL_REPEATS]))
    if answer > threshold and shape == 0:
        shape = STANDS_STILL
    return answer, shape, drifted


@njit(cache=True, inline="always")
def learn_runs(s, row, y, dt, stands, samples, in_alarm):
    """The longest run of equal values is learnt when it is over, and slowly forgotten."""
    repeated = 1.0 if y == s[row, SAVED_VALUE] else 0.0
    if not in_alarm:
        # A sensor that is stuck does not become one that often repeats itself while it is told of.
        rate = memory(stands, LONG_SECONDS, samples)
        s[row, REPEAT_SHARE] += rate * (repeated - s[row, REPEAT_SHARE])
    s[row, USUAL_REPEATS] *= 1.0 - dt / (4.0 * LONG_SECONDS)
    if y == s[row, SAVED_VALUE]:
        s[row, REPEATS] += 1.0
    else:
        s[row, USUAL_REPEATS] = max(s[row, USUAL_REPEATS], s[row, REPEATS])
        s[row, REPEATS] = 0.0
    s[row, SAVED_VALUE] = y


@njit(cache=True, inline="always")
def learn_drift(s, hourly, row, now, y, scale, step, stands, samples):
    """Follow the mean of the last 24 hours, and how far it usually is from what it usually is."""
    mean_of_day(s, hourly, row, now, y, step)
    moved = min(abs(s[row, DAY_MEAN] - s[row, USUAL_DAY]), CLIP_SCALE * max(s[row, DRIFT], scale))
    s[row, DRIFT] += memory(stands, 2.0 * LONG_SECONDS, samples) * (moved - s[row, DRIFT])


@njit(cache=True, inline="always")
def mean_of_day(s, hourly, row, now, y, step):
    """Follow the mean of the last 24 hours, whatever the daily cycle, and what it usually is.

    Where a `step` is longer than an hour, a sample is also what the hours until the next one are.
    """
    hour = now // 3600.0
    if hour != s[row, HOUR_AT]:
        if s[row, HOUR_COUNT] > 0.0:
            ended, mean = int(s[row, HOUR_AT]), s[row, HOUR_SUM] / s[row, HOUR_COUNT]
            hourly[row, ended % HOURS] = mean
            passed = min(hour - s[row, HOUR_AT], math.ceil(step / 3600.0), float(HOURS))
            # Hours that a first day lacks are as the one before: as 0 they would drift when they come.
            lacks = passed if s[row, N_HOURS] >= HOURS else min(hour - s[row, HOUR_AT], float(HOURS))
            for lacking in range(1, int(lacks)):
                hourly[row, (ended + lacking) % HOURS] = mean
            s[row, N_HOURS] += passed
            if s[row, N_HOURS] >= HOURS:
                s[row, DAY_MEAN] = np.mean(hourly[row])
                young = s[row, N_HOURS] - HOURS + 1.0
                if young <= passed:
                    s[row, USUAL_DAY] = s[row, DAY_MEAN]
                rate = passed * max(1.0 / max(young, passed), 3600.0 / LONG_SECONDS)
                s[row, USUAL_DAY] += rate * (s[row, DAY_MEAN] - s[row, USUAL_DAY])
            else:
                s[row, DAY_MEAN] = s[row, USUAL_DAY]
        s[row, HOUR_AT], s[row, HOUR_SUM], s[row, HOUR_COUNT] = hour, 0.0, 0.0
    s[row, HOUR_SUM] += y
    s[row, HOUR_COUNT] += 1.0
