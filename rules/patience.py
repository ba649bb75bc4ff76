"""When what failed is tried again: in a minute at first, and ever later while the same things fail."""

from __future__ import annotations

from collections.abc import Mapping

FIRST_SECONDS = 60.0
LAST_SECONDS = 900.0
"""Each try writes a file, has Prometheus read all of its files twice and waits for it, so tries get rare.

Four an hour remain, as PronoiaRulesNotPublished would otherwise end while nothing is better.
"""


class Patience:
    """How long to wait after each run of which something failed."""

    def __init__(self) -> None:
        self._failed: Mapping[str, str] = {}
        self.seconds = 0.0

    def after(self, failed: Mapping[str, str]) -> float:
        """Seconds until the next try. `failed`: what failed, and as what; others than before: begun anew."""
        if failed != self._failed:
            self._failed, self.seconds = dict(failed), 0.0
        self.seconds = min(2 * self.seconds or FIRST_SECONDS, LAST_SECONDS)
        return self.seconds
