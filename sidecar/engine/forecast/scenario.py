"""What if: a forecast multiplied over a part of its time, and what its peak asks for."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Self

import numpy as np

from sidecar.config.fields import parse_duration
from sidecar.errors import ModelError
from sidecar.series import FloatArray, TimeArray

_FORM = re.compile(r"^\s*(\d+(?:\.\d*)?)\s*x\s+for\s+(\S+)(?:\s+in\s+(\S+))?\s*$")


@dataclass(frozen=True)
class Scenario:
    """So many times the forecast, for so long, beginning so long after the last sample; seconds."""

    factor: float
    duration_seconds: float
    delay_seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `3.5x for 8h` or `3.5x for 8h in 2h`.

        Raises: ModelError.
        """
        found = _FORM.match(text)
        try:
            if not found:
                raise ValueError
            made = cls(float(found[1]), parse_duration(found[2]), parse_duration(found[3] or "0"))
        except ValueError as error:
            raise ModelError(
                f"{text!r} is no scenario; write '3.5x for 8h' or '3.5x for 8h in 2h'"
            ) from error
        if made.factor <= 0 or made.duration_seconds <= 0:
            raise ModelError(f"{text!r}: the factor and the duration must be above 0")
        return made

    def apply(self, timestamps: TimeArray, last_ms: int, *series: FloatArray) -> tuple[FloatArray, ...]:
        """The arrays (h,), multiplied where the scenario holds; `last_ms` is the time of the last sample."""
        ahead = (timestamps - last_ms) / 1000.0
        end = self.delay_seconds + self.duration_seconds
        factor = np.where((ahead > self.delay_seconds) & (ahead <= end), self.factor, 1.0)
        return tuple(one * factor for one in series)


@dataclass(frozen=True)
class Need:
    """The peak of a forecast: when, the expected value, the upper bound; and replicas for that bound."""

    step: int
    yhat: float
    upper: float
    replicas: int | None


def need(yhat: FloatArray, upper: FloatArray, per_replica: float | None) -> Need:
    """What the peak asks for, `per_replica` being what one replica can bear, in the unit of the series."""
    at = int(np.argmax(upper))
    replicas = None if per_replica is None else max(math.ceil(float(upper[at]) / per_replica), 0)
    return Need(int(np.argmax(yhat)), float(yhat.max()), float(upper[at]), replicas)
