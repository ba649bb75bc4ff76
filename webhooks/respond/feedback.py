"""What people say of incidents, by rule and pair; `webhooks/correlate/verdicts.py` heeds them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations, product

from sidecar.records import Episode, Feedback, Incident

VERDICTS = ("useful", "noise", "duplicate", "wrong_merge")
MAX_RULES = 20


def verdicts_on(
    incident: Incident,
    episodes: Iterable[Episode],
    verdict: str,
    *,
    actor: str,
    now_ns: int,
    others: Iterable[Episode] = (),
) -> list[Feedback]:
    """One row for each rule of the incident, or for each pair of rules where the verdict speaks of pairs.

    With `others`, alerts that belong to it after all (duplicate) or do not (wrong merge), the pairs are
    of one of each; without them a wrong merge speaks of all pairs within, and a duplicate of no pair.
    """
    rules, beside = _rules(episodes), _rules(others)
    if beside:
        pairs = sorted({(min(pair), max(pair)) for pair in product(rules, beside)})
    elif verdict == "wrong_merge" and len(rules) > 1:
        pairs = list(combinations(rules, 2))
    else:
        pairs = [(rule, "") for rule in rules]
    return [
        Feedback(incident.incident_id, incident.tenant, now_ns, verdict, actor, rule, other, incident.noise)
        for rule, other in pairs
    ]


def _rules(episodes: Iterable[Episode]) -> list[str]:
    return sorted({episode.labels.get("alertname", "") for episode in episodes})[:MAX_RULES]
