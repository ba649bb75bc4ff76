"""How much of a range a server is asked for at once: less where it finds so much too much."""

from __future__ import annotations

import re
from collections.abc import Callable

from sidecar.errors import PullError, PullReason

MAX_STEPS = 11_000
"""Prometheus refuses more points a series in one range query (web/api/v1, "maximum resolution")."""

LEAST_STEPS = 100
"""What is too much for so few steps is not so for their number."""

_WORDS = re.compile(
    r"too many (samples|points)|exceed\w* .*(limit|maximum)|cannot (exceed|select more)|timed out|timeout",
    re.IGNORECASE | re.DOTALL,
)
"""How Prometheus, Thanos, Mimir and VictoriaMetrics say so: samples in memory, length of a range, time."""


def is_too_much(error: PullError) -> bool:
    """Whether a smaller part of the range may be answered, while the same request would fail again."""
    if error.reason in (PullReason.TIMEOUT, PullReason.TOO_LARGE):
        return True
    told = error.reason in (PullReason.BAD_QUERY, PullReason.SERVER_ERROR)
    # Of a limit on how often one may ask there is no end by asking more often.
    return told and ": 429 " not in str(error) and _WORDS.search(str(error)) is not None


class Portions:
    """The number of steps that one server is asked for at once; remembered from one range to the next."""

    def __init__(self, most: int = MAX_STEPS, least: int = LEAST_STEPS) -> None:
        self._most, self._least = most, least
        self._taken = most

    def begin(self) -> int:
        """How many steps to begin a range with: twice what was taken last, it may do better now."""
        self._taken = min(2 * self._taken, self._most)
        return self._taken

    def hopeless(self, n_steps: int) -> Callable[[PullError], bool]:
        """Which errors so many steps would meet again, so that they are better asked for in parts."""
        return is_too_much if n_steps > self._least else lambda _: False

    def less(self, n_steps: int, error: PullError) -> int | None:
        """How many to go on with after so many met the error; None where fewer would meet it as well."""
        if not self.hopeless(n_steps)(error):
            return None
        self._taken = max(n_steps // 2, self._least)
        return self._taken
