"""How many new alerts a minute are usual here, and when there are far more."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

WINDOW_SECONDS, BUCKET_SECONDS = 60.0, 5.0
HIGH, STEP, FIRST_MINUTES = 0.99, 0.1, 60
"""The learned rate is the greatest of the first hour; then it steps toward where a hundredth lies above."""

MAX_MINUTES = 10_080
CALM_SHARE = 1.0 / 3.0
CALM_SECONDS = 120.0
"""A storm is over when the rate has stayed below a third of its onset for two minutes."""


@dataclass
class RateWatch:
    """Learns the rate of one tenant, and says whether there is a storm. Times are seconds.

    `at_least`: fewer new alerts a minute are never a storm; 0 switches it off. `factor`: so many times
    the learned high rate (the 99th percentile of minutes) is far above it.
    """

    at_least: float
    factor: float
    high: float = 0.0
    n_minutes: int = 0
    storming: bool = False
    _buckets: deque[list[float]] = field(default_factory=deque)
    _in_window: int = 0
    _minute: float = 0.0
    _in_minute: int = 0
    _calm_since: float | None = None

    @property
    def onset(self) -> float:
        """New alerts a minute above which it is a storm."""
        return max(self.at_least, self.factor * self.high)

    @property
    def rate(self) -> int:
        """New alerts within the last minute."""
        return self._in_window

    def count(self, n: int, now: float) -> None:
        """Take so many new alerts, and let time pass."""
        self._learn(n, now)
        if self._buckets and self._buckets[-1][0] > now:
            # The clock was set back since: they leave with the window by today's clock.
            for bucket in self._buckets:
                bucket[0] = min(bucket[0], now)
        if n:
            if not self._buckets or now - self._buckets[-1][0] >= BUCKET_SECONDS:
                self._buckets.append([now, 0])
            self._buckets[-1][1] += n
            self._in_window += n
        while self._buckets and now - self._buckets[0][0] >= WINDOW_SECONDS:
            self._in_window -= int(self._buckets.popleft()[1])
        if not self.at_least:
            return
        if not self.storming:
            self.storming = self._in_window > self.onset
            self._calm_since = None
        elif self._in_window >= CALM_SHARE * self.onset:
            self._calm_since = None
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= CALM_SECONDS:
            self.storming = False

    def _learn(self, n: int, now: float) -> None:
        """Move the high rate a step toward where a hundredth of the minutes lie above it."""
        if not self._minute:
            self._minute = now
        minutes = int((now - self._minute) // WINDOW_SECONDS)
        for at in range(min(minutes, MAX_MINUTES)):
            seen = self._in_minute if at == 0 else 0
            self._in_minute = 0
            if self.storming:
                continue  # A storm must not become usual.
            self.n_minutes += 1
            if self.n_minutes <= FIRST_MINUTES:
                self.high = max(self.high, float(seen))
            else:
                step = STEP * max(self.high, 1.0)
                self.high += step * HIGH if seen > self.high else -step * (1.0 - HIGH)
        self._minute += minutes * WINDOW_SECONDS
        self._in_minute += n
