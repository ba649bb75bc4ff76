"""What people say of incidents, kept for each rule and pair of rules, and what follows for the next one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sidecar.records import Episode, Feedback

VERDICTS = ("useful", "noise", "duplicate", "wrong_merge")
MAX_RULES = 20
HALF_LIFE_SECONDS = 60 * 86400.0
"""A verdict of two months ago counts half: rules change, and so does what they are good for."""
PRIOR = 2.0
"""So many verdicts of either kind are imagined beforehand, so that one click decides nothing."""


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What was said of one rule, faded by age."""

    useful: float = 0.0
    noise: float = 0.0

    @property
    def log_odds(self) -> float:
        """What it adds to the log odds of being noise; 0 where nobody has spoken."""
        return math.log((self.noise + PRIOR) / (self.useful + PRIOR))


def verdicts_on(
    incident_id: str, tenant: str, episodes: Iterable[Episode], verdict: str, *, actor: str, now_ns: int
) -> list[Feedback]:
    """One row for each rule of the incident; for a wrong merge or a duplicate, one for each pair of them."""
    rules = sorted({episode.labels.get("alertname", "") for episode in episodes})[:MAX_RULES]
    pairs = [(rule, "") for rule in rules]
    if verdict in ("wrong_merge", "duplicate") and len(rules) > 1:
        pairs = [(one, other) for i, one in enumerate(rules) for other in rules[i + 1 :]]
    return [Feedback(incident_id, tenant, now_ns, verdict, actor, rule, other) for rule, other in pairs]


def by_rule(given: Iterable[Feedback], *, now_ns: int) -> dict[str, Verdicts]:
    """What was said of each rule, an incident counted once with its newest word."""
    newest: dict[tuple[str, str], Feedback] = {}
    for one in given:
        if one.verdict in ("useful", "noise"):
            newest[one.incident_id, one.rule] = one
    sums: dict[str, dict[str, float]] = defaultdict(lambda: {"useful": 0.0, "noise": 0.0})
    for (_, rule), one in newest.items():
        age = max(now_ns - one.at_ns, 0) / 1e9
        sums[rule][one.verdict] += 0.5 ** (age / HALF_LIFE_SECONDS)
    return {rule: Verdicts(**found) for rule, found in sums.items()}


def apart(given: Iterable[Feedback]) -> Mapping[tuple[str, str], int]:
    """How many incidents were said to have put a pair of rules together wrongly."""
    wrong = {(one.rule, one.other_rule, one.incident_id) for one in given if one.verdict == "wrong_merge"}
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for rule, other, _ in wrong:
        if other:
            counts[rule, other] += 1
    return dict(counts)
