"""How fast a channel may be told: a bucket of permits that fills steadily."""

from __future__ import annotations

from collections.abc import Callable

BURST_SHARE = 1 / 6
"""A sixth of a minute's messages may go at once; then they are spread."""


class Limiter:
    """A token bucket. Not a queue: who is refused asks again."""

    def __init__(self, per_minute: int, *, now: Callable[[], float]) -> None:
        self._rate = per_minute / 60.0
        self._size = max(per_minute * BURST_SHARE, 1.0)
        self._permits = self._size
        self._now = now
        self._at = now()
        self._paused_until = 0.0

    def wait_seconds(self) -> float:
        """0 where a permit was taken; else how long until the next one, and none was taken."""
        now = self._now()
        if now < self._at:
            # The clock was set back: a pause is so long by any clock.
            self._paused_until -= self._at - now
        self._permits = min(self._size, self._permits + max(now - self._at, 0.0) * self._rate)
        self._at = now
        if now < self._paused_until:
            return self._paused_until - now
        # The sum of many small fillings falls a little short of the whole permit that was promised.
        if self._permits < 1.0 - 1e-6:
            return (1.0 - self._permits) / self._rate
        self._permits -= 1.0
        return 0.0

    @property
    def is_paused(self) -> bool:
        """Whether the other side has asked for a pause that lasts."""
        return self._now() < self._paused_until

    def pause(self, seconds: float) -> None:
        """Give no permits for so long, because the other side asked for it."""
        self._paused_until = max(self._paused_until, self._now() + seconds)
