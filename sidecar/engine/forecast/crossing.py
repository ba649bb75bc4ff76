"""When a forecast crosses a threshold, with which probability."""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np

from sidecar.errors import ModelError
from sidecar.series import FloatArray

_FORM = re.compile(r"^\s*(>=?|<=?)\s*([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)\s*$")

LAST_DIGIT = 1e-7
"""Part of a number that single precision, in which live history is kept, may be off by."""


@dataclass(frozen=True)
class Threshold:
    """A bound as an alert rule has it: values above (or below) it are bad.

    `inclusive`: `value` is the number next to the one that was written, which is bad itself.
    """

    value: float
    above: bool
    inclusive: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `> 90` or `< 0.1`, as at the end of an alert rule's expression.

        Raises: ModelError.
        """
        found = _FORM.match(text)
        if not found or not math.isfinite(float(found[2])):
            raise ModelError(f"{text!r} is no threshold; write '> 90' or '< 0.1'")
        return cls.of(found[1], float(found[2]))

    @classmethod
    def of(cls, operator: str, value: float) -> Self:
        """Of a comparison; where that holds at the value itself (`>=`), the number next to it is the bound.

        >>> at_the_top = Threshold.of(">=", 100.0)
        >>> 100.0 > at_the_top.value, str(at_the_top)
        (True, '> 100')
        """
        above, inclusive = operator.startswith(">"), operator.endswith("=")
        if inclusive:
            value = math.nextafter(value, -math.inf if above else math.inf)
        return cls(value, above, inclusive)

    @property
    def shown(self) -> float:
        """The value to be written: the number next to 0 is meant as 0."""
        return self.value if abs(self.value) >= sys.float_info.min else 0.0

    def __str__(self) -> str:
        return f"{'>' if self.above else '<'} {self.shown:g}"


def probabilities(
    threshold: Threshold, yhat: FloatArray, lower: FloatArray, upper: FloatArray, level: float
) -> FloatArray:
    """The probability that the value lies beyond the threshold, at each step, (h,).

    Either side of the forecast is taken as half of a normal distribution whose
    quantile the interval's end is; a side of no width is certain. What stands at the threshold has
    crossed it if that is inclusive, and has not if it is not.
    """
    normal = NormalDist()
    z = normal.inv_cdf(0.5 + level / 2.0)
    distance = threshold.value - yhat if threshold.above else yhat - threshold.value
    # Nine of ten instances that are up stay nine of ten, whatever the last digit of their forecast.
    digit = LAST_DIGIT * abs(threshold.value)
    distance = np.where(np.abs(distance) <= digit, -digit if threshold.inclusive else digit, distance)
    away, toward = (upper - yhat, yhat - lower) if threshold.above else (yhat - lower, upper - yhat)
    # Beyond the centre the far side's width counts, before it the near side's.
    width = np.where(distance >= 0, away, toward) / z
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(width > 0, distance / width, np.sign(distance) * np.inf)
    # A certain value that lies on the threshold has not crossed it.
    score = np.where(np.isnan(score), np.inf, score)
    return np.array([1.0 - normal.cdf(s) if math.isfinite(s) else float(s < 0) for s in score.tolist()])


def first_step(probability_at: FloatArray, probability: float) -> int | None:
    """Index of the first step at which the threshold is crossed with so much probability; None: never."""
    beyond = np.flatnonzero(probability_at >= probability)
    return int(beyond[0]) if len(beyond) else None
