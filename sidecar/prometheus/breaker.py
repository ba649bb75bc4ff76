"""A circuit breaker: after repeated failure a server is left alone for a while, then tried once.

Own code because the packaged ones keep global state or their own clock, and this
one is thirty lines.
"""

from __future__ import annotations

from collections.abc import Callable


class Breaker:
    """Counts consecutive failures of one server.

    `allow()` says whether a request may go out: always while closed; once per
    `cooldown_seconds` while open (the probe).
    """

    def __init__(self, failures: int, cooldown_seconds: float, now: Callable[[], float]) -> None:
        self._limit = failures
        self._cooldown = cooldown_seconds
        self._now = now
        self._failures = 0
        self._retry_at = 0.0

    @property
    def open(self) -> bool:
        """True while the server is left alone."""
        return self._failures >= self._limit

    def allow(self) -> bool:
        """True if a request may go out now; an open breaker lets one probe through per cool-down."""
        if not self.open:
            return True
        if self._now() < self._retry_at:
            return False
        self._retry_at = self._now() + self._cooldown
        return True

    def rest(self, seconds: float) -> None:
        """The server asked to be left alone for so long."""
        self._failures = self._limit
        self._retry_at = self._now() + seconds

    def succeeded(self) -> None:
        """The server answered; what it answered does not matter."""
        self._failures = 0

    def failed(self) -> None:
        """The server did not answer, or answered that it cannot."""
        self._failures += 1
        if self._failures == self._limit:
            self._retry_at = self._now() + self._cooldown
