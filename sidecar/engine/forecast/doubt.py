"""What a forecast is worth when its rules differ as never before: a spike or a step in the newest samples."""

from __future__ import annotations

import numpy as np

from sidecar.series import FloatArray

DOUBTS = 2.0
"""So many standard deviations of the rules about their mix, beyond what is usual, are added in squares."""


def spread(said: FloatArray, shares: FloatArray) -> FloatArray:
    """Standard deviation of rules (R, B, L) about their mix by `shares` (R, L), (B, L)."""
    mix = np.einsum("rl,rbl->bl", shares, said)
    off: FloatArray = np.sqrt(np.einsum("rl,rbl->bl", shares, (said - mix) ** 2))
    return off


def beyond_usual(said: FloatArray, shares: FloatArray, usual: FloatArray) -> FloatArray:
    """What to add, in squares, to either half of the interval, (h,); 0 where rules differ as before.

    `said` (R, h), `shares` (R, h) summing to one, `usual` (h,) the widest spread from past moments.
    """
    now = spread(said[:, None, :], shares)[0]
    more: FloatArray = DOUBTS * np.sqrt(np.maximum(now**2 - usual**2, 0.0))
    return more


def middle(said: FloatArray, shares: FloatArray) -> FloatArray:
    """The weighted median of rules at each lead, (h,): few that follow a spike do not drag it along."""
    order = np.argsort(said, axis=0)
    below = np.cumsum(np.take_along_axis(shares, order, axis=0), axis=0)
    at = np.argmax(below >= 0.5 * below[-1], axis=0)
    found: FloatArray = np.take_along_axis(np.take_along_axis(said, order, axis=0), at[None, :], axis=0)[0]
    return found
