"""What people said of rules and of pairs of rules, as weights for noise and for bonds.

A verdict teaches as much as it surprised: what was believed to be real and was
called useful changes nothing. Counting verdicts instead would let the many
useful ones of a rule that also makes noise hide that noise (measured: see
docs/response.md, Feedback).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable

from sidecar.records import Feedback

OUTCOME = {"noise": 1.0, "useful": 0.0}
LEARNING = 0.5
"""Log-odds for a verdict that surprised wholly, shared among its incident's rules (logistic regression)."""

MOST_ODDS = 3.0
"""However often people said so: an alert may change its nature."""

LEARNING_OF_ALL, MOST_OF_ALL = 0.05, 0.75
"""The same for all rules of a tenant: what was believed too seldom, or too often, everywhere.

At most what moves .35 to .53: some people only ever say what was noise.
"""

TOLD_OF_ALL = 0.2
"""Less is not told as a reason."""

ESTRANGED = 0.6
"""What each "wrong merge" leaves of the bond between two rules."""

DRAWN, MOST_DRAWN = 0.15, 0.45
"""How much of what is left to a whole bond each "duplicate of that one" adds, and all of them at most."""


class Verdicts:
    """What was said, by tenant and rule."""

    def __init__(self) -> None:
        self._odds: dict[tuple[str, str], float] = {}
        self._of_all: dict[str, float] = {}
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._apart: Counter[tuple[str, str, str]] = Counter()
        self._together: Counter[tuple[str, str, str]] = Counter()
        self._misses: list[float] = []

    def heed(self, feedback: Iterable[Feedback]) -> None:
        """Take everything that was said, oldest first, in place of what was heeded before.

        Of one person's verdicts on one incident the newest counts.
        """
        self._apart.clear()
        self._together.clear()
        by_speaker: dict[tuple[str, str, str], dict[str, Feedback]] = defaultdict(dict)
        for one in feedback:
            if one.verdict in ("wrong_merge", "duplicate") and one.other_rule:
                first, second = sorted((one.rule, one.other_rule))
                pairs = self._apart if one.verdict == "wrong_merge" else self._together
                pairs[one.tenant, first, second] += 1
            elif one.verdict in OUTCOME:
                by_speaker[one.tenant, one.incident_id, one.actor][one.rule] = one
        self._odds, self._of_all, self._counts = defaultdict(float), defaultdict(float), Counter()
        self._misses = [
            (OUTCOME[one.verdict] - one.believed) ** 2
            for rules in by_speaker.values()
            for one in rules.values()
        ]
        for (tenant, _, _), rules in by_speaker.items():
            surprises = [OUTCOME[one.verdict] - one.believed for one in rules.values()]
            self._of_all[tenant] += LEARNING_OF_ALL * sum(surprises) / len(surprises)
            for rule, one in rules.items():
                surprise = OUTCOME[one.verdict] - one.believed
                self._odds[tenant, rule] += LEARNING * surprise / len(rules)
                self._counts[tenant, rule, one.verdict] += 1

    def odds(self, tenant: str, rule: str) -> float:
        """Log-odds that a rule's alert is noise, by what people said of it and of others; 0 of nothing."""
        return max(min(self._odds.get((tenant, rule), 0.0) + self._shift(tenant), MOST_ODDS), -MOST_ODDS)

    def _shift(self, tenant: str) -> float:
        """By how much all of a tenant's rules are likelier to be noise than is believed, in log-odds."""
        return max(min(self._of_all.get(tenant, 0.0), MOST_OF_ALL), -MOST_OF_ALL)

    def words(self, tenant: str, rule: str) -> str:
        """The same for people; empty where they said nothing."""
        noise, useful = (self._counts[tenant, rule, verdict] for verdict in ("noise", "useful"))
        if noise or useful:
            return f"people called it noise {noise} times, useful {useful}"
        shift = self._shift(tenant)
        if abs(shift) < TOLD_OF_ALL:
            return ""
        return f"people called {'more' if shift > 0 else 'fewer'} alerts noise here than was believed"

    @property
    def brier(self) -> float:
        """Mean squared distance of told probabilities of noise from what people said, 0..1; NaN of none.

        0 is always right; .25 is what "one half" earns each time. Source: Brier (1950), Verification of
        forecasts expressed in terms of probability.
        """
        return sum(self._misses) / len(self._misses) if self._misses else math.nan

    @property
    def parts(self) -> bool:
        """Whether anybody said that two rules do not belong together."""
        return bool(self._apart)

    def apart(self, tenant: str, one: str, other: str) -> float:
        """What is left of a bond between two rules, 0..1."""
        first, second = sorted((one, other))
        return float(ESTRANGED ** self._apart[tenant, first, second])

    @property
    def joins(self) -> bool:
        """Whether anybody said that an incident repeats another one."""
        return bool(self._together)

    def together(self, tenant: str, one: str, other: str) -> float:
        """How strongly two rules belong together because people said so, 0..0.45."""
        first, second = sorted((one, other))
        return min(1.0 - float((1.0 - DRAWN) ** self._together[tenant, first, second]), MOST_DRAWN)
