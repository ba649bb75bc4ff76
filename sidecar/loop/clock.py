"""Time as the source sees it: the wall clock, corrected when it and the server disagree."""

from __future__ import annotations

import time
from collections.abc import Callable

TOLERANCE_SECONDS = 5.0
"""Less than this is network, and the one-second grain of the HTTP `Date` header."""

GRAIN_SECONDS = 1.0
"""Two readings of one difference are up to so much apart: each is of a whole second of the server's."""

AHEAD_SECONDS = 3600.0
"""A model that is further ahead of the source's clock is of no use; one that is less soon is again."""


class SourceClock:
    """Now, in the time line of the server that holds the samples.

    Steps are judged at the server's time, so a local clock that jumps (five
    minutes back, say) costs one pull: the answer's `Date` shows the difference,
    and the next step is asked for at the right time again.
    """

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self.skew_seconds = 0.0

    def observe(self, server_seconds: float) -> None:
        """Take note of the server's clock, just read from an answer."""
        skew = server_seconds - self._wall()
        if abs(skew) <= TOLERANCE_SECONDS:
            self.skew_seconds = 0.0
        elif abs(skew - self.skew_seconds) > GRAIN_SECONDS:
            # Each reading by the letter would set the clock back at times, and a step be asked for twice.
            self.skew_seconds = skew

    def now(self) -> float:
        """Seconds since the epoch on the server's clock."""
        return self._wall() + self.skew_seconds

    def last_step_ms(self, step_seconds: float, offset_seconds: float) -> int:
        """The newest multiple of the step that is at least the offset ago, in milliseconds."""
        step_ms = round(step_seconds * 1000)
        return int((self.now() - offset_seconds) * 1000) // step_ms * step_ms

    def not_yet(self, step_ms: int, offset_seconds: float) -> bool:
        """Whether a step that was asked for lies in the source's future, as its answer has just shown.

        Of such a time the source says what was last, or nothing: who takes it is blind until then.
        """
        return step_ms / 1000 + offset_seconds - self.now() > TOLERANCE_SECONDS

    def until_next_step(self, step_seconds: float, offset_seconds: float) -> float:
        """Seconds to sleep until the next step may be judged; never more than one step."""
        into_step = (self.now() - offset_seconds) % step_seconds
        return min(max(step_seconds - into_step, 0.01), step_seconds)
