"""How far errors may come at leads that the past was too short to test."""

from __future__ import annotations

import numpy as np

from sidecar.engine.forecast.past import Index, Past
from sidecar.series import FloatArray

RANDOM_WALK = 0.5
MEASURED_FROM = 8.0
"""Growth is measured from an eighth of the longest tested lead on: nearer ones know the newest values."""
MOVE_SHARE = 0.5
"""A level that is carried on beyond the test may as well go half as far, or half as far again."""
SPREAD_SHARE = 0.4
"""Part of the spread of the past by which times that it did not show (a week-end) may differ.

On 313 made-up and real series the interval of the next seven days of three then holds 91 % in place of
88 %, at the same interval score.
"""
MIN_LEADS = 3


def growth_of(leads: Index, sizes: FloatArray) -> float:
    """Power of the lead by which errors grow: half what was measured, half that of a random walk.

    `leads` (L,) tested, increasing; `sizes` (L,) of errors there. Three days measure it badly.

    >>> leads = np.array([1, 2, 4, 8, 16])
    >>> round(growth_of(leads, np.ones(5)), 2), round(growth_of(leads, 3.0 * leads), 2)
    (0.25, 0.75)
    """
    far = leads * MEASURED_FROM >= leads[-1]
    if far.sum() < MIN_LEADS or not sizes[far].all():
        return RANDOM_WALK
    x, y = np.log(leads[far]), np.log(sizes[far])
    x = x - x.mean()
    measured = float((x * y).sum() / (x * x).sum())
    return (RANDOM_WALK + min(max(measured, 0.0), 1.0)) / 2.0


def unseen(past: Past, yhat: FloatArray, tested: int) -> FloatArray:
    """What to add, in squares, to either half of the interval beyond `tested` steps, (h,).

    `yhat` (h,) relative to the past's centre. The forecast's own movement since the last tested step
    is in doubt, and what the past did not show differs from it by a part of its spread.
    """
    width = past.day or max(tested // 2, 1)
    sums = np.concatenate([past.sums, past.sums[-1] + np.cumsum(yhat)])
    ends = past.n + np.arange(1, len(yhat) + 1)
    level = (sums[ends] - sums[np.maximum(ends - width, 0)]) / width
    moved = np.abs(level - level[tested - 1])
    moved[:tested] = 0.0
    low, high = np.quantile(past.y, [0.025, 0.975])
    further = np.clip(np.arange(1, len(yhat) + 1) / tested - 1.0, 0.0, 1.0)
    more: FloatArray = np.hypot(MOVE_SHARE * moved, SPREAD_SHARE * (high - low) * further)
    return more
