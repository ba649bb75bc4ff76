"""The noise report of a team: what rang for nothing, what belongs together, and what would help. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from sidecar.config.fields import format_duration
from sidecar.records import Episode, Feedback, Incident, Response
from webhooks.respond.document import Report, Section

TOP = 15
SELF_RESOLVED_SECONDS = 600.0
"""What ends within ten minutes, before anybody took it on, ended by itself."""
TOGETHER, AT_LEAST = 0.9, 5
"""Two rules belong together where nine in ten incidents with one have the other, over five or more."""
HIDDEN_SHARE = 0.9
"""A longer `for` is proposed that would have hidden nine in ten of those that ended by themselves."""
MIN_FOR_SECONDS = 60.0


@dataclass
class RuleNoise:
    """What one rule did."""

    rule: str
    n_alerts: int = 0
    n_flaps: int = 0
    n_self_resolved: int = 0
    n_taken: int = 0
    said: Counter[str] = field(default_factory=Counter)
    short: list[float] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)


def by_rule(
    episodes: Iterable[Episode], responses: Mapping[str, Response], feedback: Iterable[Feedback]
) -> dict[str, RuleNoise]:
    """What each rule did, the noisiest first."""
    found: dict[str, RuleNoise] = {}
    seen: Counter[str] = Counter()
    for one in episodes:
        rule = one.labels.get("alertname", "")
        row = found.setdefault(rule, RuleNoise(rule))
        row.n_alerts += 1
        seen[one.fingerprint] += 1
        row.n_flaps += seen[one.fingerprint] > 1
        lasted = None if one.ends_at_ns is None else (one.ends_at_ns - one.starts_at_ns) / 1e9
        response = responses.get(one.incident_id or "")
        taken = response is not None and response.first_acknowledged_at_ns is not None
        row.n_taken += taken
        if taken and lasted is not None:
            row.taken.append(lasted)
        elif lasted is not None and lasted < SELF_RESOLVED_SECONDS:
            row.n_self_resolved += 1
            row.short.append(lasted)
    for said in feedback:
        if said.rule in found:
            found[said.rule].said[said.verdict] += 1
    order = sorted(found.values(), key=lambda row: (-(row.n_self_resolved + row.n_flaps), -row.n_alerts))
    return {row.rule: row for row in order}


def longer_for(row: RuleNoise) -> tuple[float, int, int] | None:
    """A `for` that hides what ends by itself: seconds more, how many it hides, how many taken ones too."""
    if len(row.short) < AT_LEAST:
        return None
    ordered = sorted(row.short)
    seconds = max(ordered[min(int(HIDDEN_SHARE * len(ordered)), len(ordered) - 1)], MIN_FOR_SECONDS)
    minutes = 60.0 * -(-seconds // 60.0)
    return minutes, sum(s <= minutes for s in row.short), sum(s <= minutes for s in row.taken)


def together(episodes: Iterable[Episode]) -> list[tuple[str, str, int, float]]:
    """Pairs of rules nearly always in one incident: the earlier, the later, how often, which share."""
    first: dict[str, dict[str, int]] = defaultdict(dict)
    for one in episodes:
        if one.incident_id:
            rules = first[one.incident_id]
            rule = one.labels.get("alertname", "")
            rules[rule] = min(rules.get(rule, one.starts_at_ns), one.starts_at_ns)
    alone: Counter[str] = Counter(rule for rules in first.values() for rule in rules)
    both: Counter[tuple[str, str]] = Counter()
    earlier: Counter[tuple[str, str]] = Counter()
    for rules in first.values():
        for pair in combinations(sorted(rules), 2):
            both[pair] += 1
            earlier[pair] += rules[pair[0]] <= rules[pair[1]]
    found = []
    for pair, n in both.items():
        share = n / max(alone[pair[0]], alone[pair[1]])
        if n >= AT_LEAST and share >= TOGETHER:
            lead, follow = pair if earlier[pair] * 2 >= n else pair[::-1]
            found.append((lead, follow, n, share))
    return sorted(found, key=lambda row: -row[2])[:TOP]


def noise_report(
    title: str,
    incidents: Sequence[Incident],
    episodes: Sequence[Episode],
    responses: Mapping[str, Response],
    feedback: Sequence[Feedback],
    *,
    n_messages: int,
    ready: str = "",
) -> Report:
    """Top rules, pairs, what was saved, and proposals with what they would have hidden.

    `ready`: changes of Alertmanager's configuration, as YAML.
    """
    rules = by_rule(episodes, responses, feedback)
    taken = sum(
        1 for one in incidents if (r := responses.get(one.incident_id)) and r.first_acknowledged_at_ns
    )
    rows = [
        (r.rule, r.n_alerts, r.n_flaps, r.n_self_resolved, r.n_taken, r.said["noise"], r.said["useful"])
        for r in list(rules.values())[:TOP]
    ]
    pairs = together(episodes)
    never = [(r.rule, r.n_alerts) for r in rules.values() if not r.n_taken and r.n_alerts >= AT_LEAST]
    return Report(
        title,
        [
            Section(
                "What there was",
                lines=[
                    f"{len(episodes)} alerts became {len(incidents)} incidents and {n_messages} messages; "
                    f"{taken} incidents were taken on by somebody.",
                ],
            ),
            Section(
                "Noisiest rules",
                columns=("rule", "alerts", "repeats", "ended by itself", "taken on", "said: noise", "useful"),
                rows=rows,
            ),
            Section(
                "Longer waits",
                lines=["What nine in ten alerts that ended by themselves would not have survived."],
                columns=("rule", "for, longer by", "would have hidden", "taken on, and hidden too"),
                rows=[
                    (rule, format_duration(found[0]), f"{found[1]} of {len(row.short)}", found[2])
                    for rule, row in list(rules.items())[:TOP]
                    if (found := longer_for(row)) is not None
                ],
            ),
            Section(
                "Always together",
                columns=("first", "then", "incidents", "share"),
                rows=[(lead, follow, n, f"{share:.0%}") for lead, follow, n, share in pairs],
            ),
            Section(
                "Nobody ever took on",
                columns=("rule", "alerts"),
                rows=never[:TOP],
            ),
            *([Section("Ready for Alertmanager", code=ready)] if ready else []),
        ],
    )
