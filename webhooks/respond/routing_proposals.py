"""Changes of Alertmanager's configuration that the past argues for, with what they would have done. Pure.

Each says how many notifications it would have removed, and which incidents that mattered people would
have heard of less plainly, so that who applies it knows both.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from sidecar.records import Episode, Feedback, Incident, Response
from webhooks.respond.noise_report import AT_LEAST, RuleNoise, by_rule, together

GROUP_INTERVAL_NS = 300 * 1_000_000_000
"""Alertmanager's default: what joins a group within it goes out as one notification."""
COMMON = 0.8
"""A label to group by is on four in five alerts; on the others it is empty, which groups them together."""
MAX_LABELS, MAX_WIDE = 8, 3
MIXED = 0.02
"""A grouping may put one in fifty of the incidents that matter into another one's notification."""
WORTH = 0.2
"""A grouping is proposed that saves a fifth of the notifications."""
AGREE = 0.95
"""Labels that a pair of rules must have equal: those that were so in nineteen of twenty cases."""
UNNAMED = frozenset({"severity", "alertname"})


@dataclass(frozen=True, slots=True)
class RoutingProposal:
    """One change: what to write, why, and its effect on the past.

    `removed` of `n_notifications` would not have been sent; `hidden`: incidents that matter and would
    have been heard of less plainly, or not at all.
    """

    kind: str  # inhibit | group_by | route
    config: Mapping[str, Any]
    why: str
    removed: int
    n_notifications: int
    hidden: tuple[str, ...]

    def in_words(self) -> str:
        """Its reason and effect, one line each."""
        names = ", ".join(self.hidden[:5]) + (" …" if len(self.hidden) > 5 else "")
        hidden = f"{len(self.hidden)} incidents: {names}" if self.hidden else "none"
        effect = f"would have removed {self.removed} of {self.n_notifications} notifications"
        return f"{self.why}\n{effect}\nwould have hidden: {hidden}"


def proposals(
    incidents: Iterable[Incident],
    episodes: Sequence[Episode],
    responses: Mapping[str, Response],
    feedback: Iterable[Feedback],
    *,
    group_by: Sequence[str] = ("alertname",),
) -> list[RoutingProposal]:
    """What the past argues for, the most saving of each kind first. `group_by`: how groups are made now."""
    matter = {one.incident_id for one in incidents if _matters(one, responses)}
    grouping = grouped(episodes, matter, now=group_by)
    found = [
        *inhibitions(episodes, matter),
        *([grouping] if grouping is not None else []),
        *routes(by_rule(episodes, responses, feedback), episodes, matter),
    ]
    return [one for one in found if one.removed > 0]


def inhibitions(episodes: Sequence[Episode], matter: set[str]) -> list[RoutingProposal]:
    """For rules that come together: the earlier mutes the later, where their labels agree."""
    by_name: defaultdict[str, list[Episode]] = defaultdict(list)
    for one in episodes:
        by_name[one.labels.get("alertname", "")].append(one)
    found = []
    for lead, follow, n, share in together(episodes):
        equal = _agreeing(by_name[lead], by_name[follow])
        if not equal:
            continue
        muted = _muted(by_name[lead], by_name[follow], equal)
        hidden = {m.incident_id or "" for m, by in muted if m.incident_id not in by} & matter
        rule = {
            "source_matchers": [f"alertname={_quoted(lead)}"],
            "target_matchers": [f"alertname={_quoted(follow)}"],
            "equal": equal,
        }
        why = f"{follow} came with {lead} in {share:.0%} of {n} incidents"
        found.append(RoutingProposal("inhibit", rule, why, len(muted), len(episodes), tuple(sorted(hidden))))
    return sorted(found, key=lambda one: -one.removed)


def grouped(episodes: Sequence[Episode], matter: set[str], *, now: Sequence[str]) -> RoutingProposal | None:
    """The labels to group by that make the fewest notifications and mix few incidents; None as now."""
    counts = Counter(name for one in episodes for name, value in one.labels.items() if value)
    names = [n for n, seen in counts.most_common() if seen >= COMMON * len(episodes) and n != "severity"]
    ordered = sorted(episodes, key=lambda one: one.starts_at_ns)
    # Three dots are Alertmanager's word for all labels.
    today, _ = _notifications(ordered, tuple(counts) if "..." in now else tuple(now), matter)
    best: tuple[int, int, tuple[str, ...], set[str]] | None = None
    for width in range(1, MAX_WIDE + 1):
        for labels in combinations(names[:MAX_LABELS], width):
            n, mixed = _notifications(ordered, labels, matter)
            if len(mixed) <= MIXED * len(matter) and (best is None or (n, width) < best[:2]):
                best = (n, width, labels, mixed)
    if best is None or best[0] > (1.0 - WORTH) * today:
        return None
    n, _, labels, mixed = best
    why = f"grouped by {', '.join(labels)} in place of {', '.join(now)}, what belongs together arrives so"
    config = {"group_by": list(labels)}
    return RoutingProposal("group_by", config, why, today - n, today, tuple(sorted(mixed)))


def routes(
    rules: Mapping[str, RuleNoise], episodes: Sequence[Episode], matter: set[str]
) -> list[RoutingProposal]:
    """Rules that nobody ever took on and nobody called useful, to a receiver that wakes nobody."""
    quiet = {
        name: row
        for name, row in rules.items()
        if row.n_alerts >= AT_LEAST and not row.n_taken and not row.said["useful"] and name
    }
    loud = {
        one.incident_id
        for one in episodes
        if one.labels.get("alertname", "") not in quiet and one.incident_id
    }
    only = {one.incident_id for one in episodes if one.incident_id} - loud
    mine = {
        one.incident_id: one.labels.get("alertname", "")
        for one in episodes
        if one.incident_id in only & matter
    }
    # A rule that alone spoke of what mattered is not quiet, whoever took it on.
    names = sorted(set(quiet) - set(mine.values()))
    if not names:
        return []
    config = {
        "matchers": [f"alertname=~{_quoted('|'.join(map(_literally, names)))}"],
        "receiver": "low-priority",
        "group_interval": "1h",
        "repeat_interval": "7d",
    }
    removed = sum(quiet[name].n_alerts for name in names)
    why = f"nobody took on or called useful any alert of {', '.join(names)}"
    return [RoutingProposal("route", config, why, removed, len(episodes), ())]


def as_yaml(found: Iterable[RoutingProposal]) -> str:
    """The proposals as parts of Alertmanager's configuration, each with its reason and effect as comments."""
    import yaml

    parts: defaultdict[str, list[str]] = defaultdict(list)
    for one in found:
        comment = "".join(f"  # {line}\n" for line in one.in_words().splitlines())
        body: Any = dict(one.config) if one.kind == "group_by" else [dict(one.config)]
        text = yaml.safe_dump(body, sort_keys=False, default_flow_style=None, width=200)
        parts[one.kind].append(comment + "".join(f"  {line}\n" for line in text.splitlines()))
    out = "inhibit_rules:\n" + "".join(parts["inhibit"]) if parts["inhibit"] else ""
    if parts["group_by"] or parts["route"]:
        out += "route:\n" + "".join(parts["group_by"])
        if parts["route"]:
            inner = "".join(parts["route"]).splitlines()
            out += "  routes:\n" + "".join(f"  {line}\n" for line in inner)
    return out


def _quoted(value: str) -> str:
    """A matcher's value as Alertmanager reads it; names of rules may hold anything."""
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'


def _literally(name: str) -> str:
    """A name as an expression that matches it alone."""
    return re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", name)


def _matters(incident: Incident, responses: Mapping[str, Response]) -> bool:
    response = responses.get(incident.incident_id)
    if response is not None and response.noise is not None:
        return not response.noise
    taken = response is not None and response.first_acknowledged_at_ns is not None
    return taken or (incident.priority <= "P2" and incident.noise < 0.5)


def _agreeing(leads: Sequence[Episode], follows: Sequence[Episode]) -> list[str]:
    """Labels that both rules have, and equal where they come together."""
    homes = {one.incident_id: one for one in leads if one.incident_id}
    same: Counter[str] = Counter()
    n = 0
    for one in follows:
        lead = homes.get(one.incident_id or "")
        if lead is not None:
            n += 1
            same.update(
                name for name, value in one.labels.items() if value and lead.labels.get(name) == value
            )
    return sorted(name for name, agreed in same.items() if agreed >= AGREE * n and name not in UNNAMED)


def _muted(
    leads: Sequence[Episode], follows: Sequence[Episode], equal: Sequence[str]
) -> list[tuple[Episode, set[str]]]:
    """Alerts that would have begun muted, each with the incidents of what mutes it."""
    by_labels: defaultdict[tuple[str, ...], list[Episode]] = defaultdict(list)
    for one in leads:
        by_labels[_key(one, equal)].append(one)
    found = []
    for one in follows:
        at = one.starts_at_ns
        by = [
            lead
            for lead in by_labels.get(_key(one, equal), ())
            if lead.starts_at_ns <= at and (lead.ends_at_ns is None or at < lead.ends_at_ns)
        ]
        if by:
            found.append((one, {lead.incident_id or "" for lead in by}))
    return found


def _notifications(
    ordered: Sequence[Episode], labels: tuple[str, ...], matter: set[str]
) -> tuple[int, set[str]]:
    """How many notifications a grouping makes, and incidents that first appear in another one's."""
    open_until: dict[tuple[str, ...], int] = {}
    inside: dict[tuple[str, ...], str] = {}
    seen: set[str] = set()
    mixed: set[str] = set()
    n = 0
    for one in ordered:
        key, home = _key(one, labels), one.incident_id or ""
        if one.starts_at_ns > open_until.get(key, -1):
            n += 1
            open_until[key], inside[key] = one.starts_at_ns + GROUP_INTERVAL_NS, home
        elif home != inside[key] and home not in seen and home in matter:
            mixed.add(home)
        seen.add(home)
    return n, mixed


def _key(one: Episode, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(one.labels.get(name, "") for name in names)
