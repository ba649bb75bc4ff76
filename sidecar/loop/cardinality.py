"""A query whose number of series jumps: a label that exploded, a part of the platform that is gone."""

from __future__ import annotations

import math
from dataclasses import dataclass

MEMORY_SECONDS = 6 * 3600.0
"""How long the usual number remembers; a new number that stays is the usual one after some hours."""

LEARN_STEPS = 10
LEAST_CHANGE, LEAST_SHARE, UNUSUAL = 10.0, 0.5, 8.0
"""What counts: at least ten series, half of the usual number, and eight times its usual change."""


@dataclass(frozen=True)
class Jump:
    """The number of series, what was usual, and whether it rose."""

    n_series: int
    usual: float
    rose: bool


class Cardinality:
    """Follows the number of series of one query."""

    def __init__(self, step_seconds: float) -> None:
        self._rate = 1.0 - math.exp(-step_seconds / MEMORY_SECONDS)
        self._usual = self._change = 0.0
        self._steps = 0
        self._jumped = False

    def observe(self, n_series: int) -> Jump | None:
        """The jump, at the step at which it happens; None while there is none, or it lasts."""
        usual, off = self._usual, n_series - self._usual
        limit = max(LEAST_CHANGE, LEAST_SHARE * usual, UNUSUAL * self._change)
        jumped = self._steps >= LEARN_STEPS and abs(off) > limit
        rate = max(self._rate, 1.0 / (self._steps + 1))
        self._usual += rate * off
        if self._steps:
            # A jump does not widen what is usual by more than it had to be to count.
            self._change += rate * (min(abs(off), limit) - self._change)
        self._steps += 1
        news = jumped and not self._jumped
        self._jumped = jumped
        return Jump(n_series, usual, off > 0) if news else None
