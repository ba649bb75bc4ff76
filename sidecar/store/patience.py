"""How long work waits for a database that another process has locked."""

from __future__ import annotations

import time
from collections.abc import Callable

USUAL_SECONDS = 5.0

LEAST_SECONDS = 0.1
"""Beyond its end, too: another process' short commit is no reason to give work up."""


class Patience:
    """So long a wait may take: as usual, and ever less once the process is to end.

    Stopping is a dozen pieces of work one after another; each of them waiting as usual, a foreign
    lock would hold it up until the process is killed.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until: float | None = None

    def end_within(self, seconds: float) -> None:
        """Let all waits from now on end within so many seconds, but for a moment each."""
        self._until = self._monotonic() + seconds

    @property
    def is_ending(self) -> bool:
        """Whether waits are bounded together."""
        return self._until is not None

    @property
    def seconds(self) -> float:
        """The longest that a wait which begins now may take."""
        if self._until is None:
            return USUAL_SECONDS
        return min(max(self._until - self._monotonic(), LEAST_SECONDS), USUAL_SECONDS)
