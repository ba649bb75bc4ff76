"""What people said of rules and of pairs of rules, as weights for noise and for bonds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from sidecar.records import Feedback

AGAINST, FOR = frozenset({"noise"}), frozenset({"useful"})
MOST_ODDS = 3.0
"""However often people said so: an alert may change its nature."""

ESTRANGED = 0.6
"""What each "wrong merge" leaves of the bond between two rules."""


class Verdicts:
    """Counts by tenant and rule."""

    def __init__(self) -> None:
        self._noise: Counter[tuple[str, str]] = Counter()
        self._useful: Counter[tuple[str, str]] = Counter()
        self._apart: Counter[tuple[str, str, str]] = Counter()

    def heed(self, feedback: Iterable[Feedback]) -> None:
        """Take everything that was said, in place of what was heeded before."""
        for counter in (self._noise, self._useful, self._apart):
            counter.clear()
        for one in feedback:
            if one.verdict == "wrong_merge" and one.other_rule:
                first, second = sorted((one.rule, one.other_rule))
                self._apart[one.tenant, first, second] += 1
            elif one.verdict in AGAINST:
                self._noise[one.tenant, one.rule] += 1
            elif one.verdict in FOR:
                self._useful[one.tenant, one.rule] += 1

    def odds(self, tenant: str, rule: str) -> float:
        """Log-odds that a rule's alert is noise, by what people said; 0 where they said nothing."""
        noise, useful = self._noise[tenant, rule], self._useful[tenant, rule]
        odds = math.log((1.0 + 2.0 * noise) / (1.0 + 2.0 * useful))
        return max(min(odds, MOST_ODDS), -MOST_ODDS)

    def words(self, tenant: str, rule: str) -> str:
        """The same for people; empty where they said nothing."""
        noise, useful = self._noise[tenant, rule], self._useful[tenant, rule]
        return f"people called it noise {noise} times, useful {useful}" if noise or useful else ""

    @property
    def parts(self) -> bool:
        """Whether anybody said that two rules do not belong together."""
        return bool(self._apart)

    def apart(self, tenant: str, one: str, other: str) -> float:
        """What is left of a bond between two rules, 0..1."""
        first, second = sorted((one, other))
        return float(ESTRANGED ** self._apart[tenant, first, second])
