"""Measures that are a state: 0 or 1, and nothing between or beyond, so that no number tells more of it."""

from __future__ import annotations

import numpy as np

from sidecar.series import FloatArray

A_STATE = "what it measures was 0 or 1 and never else: no number is quieter and still tells of it"


def is_state(values: FloatArray) -> bool:
    """Whether all values that there are, are 0 or 1.

    >>> is_state(np.array([[0.0, 1.0, np.nan]])), is_state(np.array([[0.0, 2.0]]))
    (True, False)
    >>> is_state(np.array([[np.nan]]))
    False
    """
    either = (values == 0) | (values == 1)
    return bool(either.any() and (either | np.isnan(values)).all())
