"""Whether alerts start on a coarse sampling grid: a value every five minutes hides who began first."""

from __future__ import annotations

import math
from collections import deque

STEPS_SECONDS = (60.0, 120.0, 300.0, 600.0)
REMEMBERED = 64
ENOUGH = 12
CONCENTRATED = 0.75
"""Length of the mean direction of onsets modulo the step: 1 on one phase, about 0.2 for 24 random ones."""


class GridWatch:
    """Learns the step of the grid online, from when alerts start."""

    def __init__(self) -> None:
        self._onsets: deque[float] = deque(maxlen=REMEMBERED)
        self.step_seconds = 0.0

    def learn(self, onset: float) -> None:
        """Take one more onset, in seconds since the epoch."""
        # Alerts of one evaluation share an onset whatever the grid; once is enough.
        if any(abs(onset - known) < 30.0 for known in list(self._onsets)[-8:]):
            return
        self._onsets.append(onset)
        if len(self._onsets) < ENOUGH:
            return
        self.step_seconds = 0.0
        for step in STEPS_SECONDS:
            turns = [2.0 * math.pi * (known % step) / step for known in self._onsets]
            n = len(turns)
            length = math.hypot(sum(map(math.cos, turns)), sum(map(math.sin, turns))) / n
            if length > CONCENTRATED:
                self.step_seconds = step
