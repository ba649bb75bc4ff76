"""The mean of a series that is mostly zero, whose median says nothing of how much comes in all."""

from __future__ import annotations

import numpy as np

from sidecar.series import FloatArray

RATE = 0.05
"""Smoothing of both parts; Teunter, Syntetos and Babai use 0.05 to 0.2 for sizes and probabilities."""


def mean_per_step(values: FloatArray) -> float:
    """How much comes in a step on average from now on, (n,) to a number; NaN marks no sample.

    The probability that something comes and the size of what comes are smoothed apart, the
    former at each step, so that the mean falls when nothing comes any more. Croston's method
    does not: it learns only when something comes.

    Source: Teunter, Syntetos and Babai (2011), Intermittent demand: linking forecasting to
    inventory obsolescence.

    >>> round(mean_per_step(np.array([0, 0, 0, 4.0] * 50)), 2)
    1.08
    """
    present = values[np.isfinite(values)]
    sizes = present[present != 0]
    if not len(sizes):
        return 0.0
    chance, size = float((present != 0).mean()), float(sizes.mean())
    for value in present.tolist():
        chance += RATE * ((value != 0) - chance)
        if value != 0:
            size += RATE * (value - size)
    return chance * size
