"""What people say of incidents, as rows for each rule and pair; `webhooks/verdicts.py` heeds them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations

from sidecar.records import Episode, Feedback, Incident

VERDICTS = ("useful", "noise", "duplicate", "wrong_merge")
OF_PAIRS = frozenset({"duplicate", "wrong_merge"})
MAX_RULES = 20


def verdicts_on(
    incident: Incident, episodes: Iterable[Episode], verdict: str, *, actor: str, now_ns: int
) -> list[Feedback]:
    """One row for each rule of the incident; for a wrong merge or a duplicate, one for each pair of them."""
    rules = sorted({episode.labels.get("alertname", "") for episode in episodes})[:MAX_RULES]
    pairs = [(rule, "") for rule in rules]
    if verdict in OF_PAIRS and len(rules) > 1:
        pairs = list(combinations(rules, 2))
    return [
        Feedback(incident.incident_id, incident.tenant, now_ns, verdict, actor, rule, other, incident.noise)
        for rule, other in pairs
    ]
