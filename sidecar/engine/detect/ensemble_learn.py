"""What a sample teaches the ensemble: the losses of its centres and the scales of residuals.

Inlined into the ensemble's loop.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.detect.ensemble_edges import beyond
from sidecar.engine.detect.ensemble_parts import (
    CLIP_SCALE,
    DAY_SECONDS,
    LONG_SECONDS,
    SCALE_SECONDS,
    WARM_UP_SAMPLES,
    clip,
    memory,
)
from sidecar.engine.detect.ensemble_state import (
    DOWN,
    DOWN_SLOW,
    LONG_MEAN,
    LONG_SQUARE,
    N_DOWN,
    N_UP,
    SEASON_LOSS,
    UP,
    UP_SLOW,
)

LOSS_SECONDS = 5 * DAY_SECONDS  # Memory of the competition between centres.
CLIP_CENTRE = 8.0  # In scales: how far one point may pull a centre.
NEWS_SECONDS = 900.0
"""An alarm that lasts is one piece of news: after so long its samples say less and less of the noise, or a
young series would take its first long incident for its ways, and be quiet amid it.
"""


@njit(cache=True, inline="always")
def compete(s, row, first, n, of_day, centres, y, daily, low_d, high_d, weekly, low_w, high_w, cap, rate):
    """Learn the losses of the centres; that of the day is number `of_day`, that of the week the next."""
    for k in range(n):
        if np.isfinite(centres[k]):
            missed = y - centres[k]
            if k == of_day:
                missed = beyond(missed, low_d, high_d)
            elif k == of_day + 1:
                missed = beyond(missed, low_w, high_w)
            s[row, first + k] += rate * (min(abs(missed), cap) - s[row, first + k])
    if not daily:
        s[row, first + of_day] = s[row, first + of_day - 1]
    if not weekly:
        s[row, first + of_day + 1] = 1.1 * s[row, first + of_day]


@njit(cache=True, inline="always")
def learn_season(s, row, which, known_seconds, missed, cap, dt, n, age):
    """Learn a season's loss since it is known: what stood there before counts as a quarter of that time."""
    since = n * (1.0 - 0.75 * known_seconds / max(age, known_seconds))
    s[row, SEASON_LOSS + which] += memory(dt, LOSS_SECONDS, since) * (
        min(abs(missed), cap) - s[row, SEASON_LOSS + which]
    )


@njit(cache=True, inline="always")
def learn_scales(s, row, y, error, error_slow, scale, scale_slow, cap, warm, stands, samples, news):
    """Move the scale of the side that was seen; young rows are kept from being blinded by one spike.

    `news` is how much of a sample's usual weight this one has, 0 to 1.
    """
    size, size_slow = abs(error), abs(error_slow)
    n_side = s[row, N_UP] if error > 0.0 else s[row, N_DOWN]
    if warm and n_side >= 5.0:
        widest = CLIP_SCALE if samples > 10.0 * WARM_UP_SAMPLES else CLIP_CENTRE
        size, size_slow = min(size, widest * scale), min(size_slow, widest * scale_slow)
    if error > 0.0:
        s[row, UP] += news * memory(stands, SCALE_SECONDS, s[row, N_UP]) * (size - s[row, UP])
        s[row, N_UP] += 1.0
    elif error < 0.0:
        s[row, DOWN] += news * memory(stands, SCALE_SECONDS, s[row, N_DOWN]) * (size - s[row, DOWN])
        s[row, N_DOWN] += 1.0
    if s[row, N_UP] == 0.0:
        s[row, UP] = s[row, DOWN]
    if s[row, N_DOWN] == 0.0:
        s[row, DOWN] = s[row, UP]
    rate = news * memory(stands, 3.0 * SCALE_SECONDS, samples)
    if error_slow > 0.0:
        s[row, UP_SLOW] += rate * (size_slow - s[row, UP_SLOW])
    elif error_slow < 0.0:
        s[row, DOWN_SLOW] += rate * (size_slow - s[row, DOWN_SLOW])
    rate = memory(stands, LONG_SECONDS, samples)
    # One sample says no more of either than a spike may: the floor of all scales is made of them.
    most = max(cap, 30.0 * np.sqrt(s[row, LONG_SQUARE]))
    s[row, LONG_MEAN] += rate * clip(y - s[row, LONG_MEAN], most)
    # What the seasons do not explain: a strong daily cycle must not hide a drop.
    off = min(abs(error_slow), most)
    s[row, LONG_SQUARE] += rate * (off * off - s[row, LONG_SQUARE])
