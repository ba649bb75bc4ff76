"""What is to come on the platform and can be foreseen: disks that fill, and an album that is announced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sidecar.series import FloatArray

HOUR = 3600.0

FILLS_SINCE_HOURS = 1.6
FULL_AFTER_HOURS = 6.0
FULL_RATIO = 0.9


def filling(hours: FloatArray) -> FloatArray:
    """A disk that stood at 40 % and, since something began to write, will be full six hours later."""
    since = np.maximum(hours + FILLS_SINCE_HOURS, 0.0)
    return np.minimum(0.4 + (FULL_RATIO - 0.4) * since / FULL_AFTER_HOURS, 1.0)


def rotated(hours: FloatArray) -> FloatArray:
    """Logs that grow for eight hours and are rotated away."""
    return 0.2 + 0.5 * np.mod(hours / 8.0 + 0.3, 1.0)


def slowly_growing(hours: FloatArray) -> FloatArray:
    """Data that grow by a third of a percent a day."""
    return 0.55 + 0.0033 * hours / 24.0


COURSES: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "filling": filling,
    "rotated": rotated,
    "slowly_growing": slowly_growing,
}
"""Used share of a disk, by hours since the demo began."""


@dataclass(frozen=True, slots=True)
class Release:
    """An album that comes out: one region listens more from three hours before the demo on."""

    region: str = "ap"
    begins_seconds: float = -3 * HOUR
    duration_seconds: float = 12 * HOUR
    uplift: float = 2.2

    def factor(self, seconds: FloatArray) -> FloatArray:
        """How many times the usual, by seconds since the demo began; it takes ten minutes to get there."""
        rise = np.clip((seconds - self.begins_seconds) / 600.0, 0.0, 1.0)
        fall = np.clip((self.begins_seconds + self.duration_seconds - seconds) / 600.0, 0.0, 1.0)
        return 1.0 + (self.uplift - 1.0) * np.minimum(rise, fall)


RELEASE = Release()
