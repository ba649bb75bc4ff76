"""Whether alerts start on a coarse sampling grid: a value every five minutes hides who began first."""

from __future__ import annotations

import math
from cmath import rect
from collections import deque
from itertools import islice

STEPS_SECONDS = (60.0, 120.0, 300.0, 600.0)
REMEMBERED = 64
ENOUGH = 12
CONCENTRATED = 0.75
"""Length of the mean direction of onsets modulo the step: 1 on one phase, about 0.2 for 24 random ones."""


class GridWatch:
    """Learns the step of the grid online, from when alerts start."""

    def __init__(self) -> None:
        self._onsets: deque[float] = deque(maxlen=REMEMBERED)
        self._sums = dict.fromkeys(STEPS_SECONDS, 0j)
        """Of the onsets' directions, by step: as complex numbers of length one."""
        self.step_seconds = 0.0

    def learn(self, onset: float) -> None:
        """Take one more onset, in seconds since the epoch."""
        # Alerts of one evaluation share an onset whatever the grid; once is enough.
        for known in islice(reversed(self._onsets), 8):
            if abs(onset - known) < 30.0:
                return
        gone = self._onsets[0] if len(self._onsets) == REMEMBERED else None
        self._onsets.append(onset)
        n = len(self._onsets)
        self.step_seconds = 0.0
        for step in STEPS_SECONDS:
            self._sums[step] += _direction(onset, step) - (0.0 if gone is None else _direction(gone, step))
            if n >= ENOUGH and abs(self._sums[step]) > CONCENTRATED * n:
                self.step_seconds = step


def _direction(onset: float, step: float) -> complex:
    return rect(1.0, 2.0 * math.pi * (onset % step) / step)
