"""The probable root cause of an incident: entities ranked, each with its evidence in words.

A candidate explains the entities that depend on it, run on it or name it in
their alerts. Candidates are what alerts, and also the silent: dependencies,
nodes and zones that the affected have in common.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sidecar.records import Cause
from webhooks.correlator import Group
from webhooks.sighting import Sighting
from webhooks.topology import Topology

MAX_PARTIES = 300
"""Entities that are compared with each other; an incident of more is a storm, and its first movers count."""


@dataclass(frozen=True, slots=True)
class CauseWeights:
    """What each kind of evidence is worth."""

    covers: float = 1.6
    hop_fade: float = 0.85
    explained: float = 0.7
    blamed: float = 1.2
    points: float = 0.6
    words: float = 0.7
    first: float = 0.5
    share: float = 0.4
    load: float = 1.2
    silent: float = 1.0
    node: float = 0.4
    zone: float = 0.2
    shared_infra: float = 0.8


@dataclass(slots=True)
class _Own:
    sightings: list[Sighting] = field(default_factory=list)
    first: float = 1e18
    words: float = 0.0
    load: bool = False
    mentions: set[str] = field(default_factory=set)


def rank(
    group: Group,
    sightings: Iterable[Sighting],
    topology: Topology,
    *,
    grain_seconds: float = 15.0,
    weights: CauseWeights | None = None,
) -> list[Cause]:
    """Candidates, the most probable first; empty where there is no sighting.

    `grain_seconds`: onsets closer than this are simultaneous.
    """
    weights = weights or CauseWeights()
    own = _by_entity(sightings)
    if not own:
        return []
    blamers: defaultdict[str, set[str]] = defaultdict(set)
    for entity, theirs in own.items():
        for name in theirs.mentions:
            blamers[name].add(entity)
    start = min(facts.first for facts in own.values())
    span = max(max(facts.first for facts in own.values()) - start, grain_seconds, 60.0)
    n_alerts = sum(len(facts.sightings) for facts in own.values())
    causes = []
    for name in [*own, *_silent(own, blamers, topology)]:
        facts: _Own | None = own.get(name)
        score, reasons = 0.0, []
        covered = _covers(name, own, topology, weights)
        blaming = blamers[name] - {name}
        n_others = max(len(own) - (name in own), 1)
        share = sum(covered.values()) / n_others
        if covered:
            reasons.append(f"{len(covered)} of {n_others} others depend on it or run on it")
        score += weights.covers * share
        if blaming:
            score += weights.blamed * (0.4 + 0.6 * min(len(blaming) / n_others, 1.0))
            reasons.append(f"named in the alerts of {', '.join(sorted(blaming)[:5])}")
        if facts is None:
            score -= weights.silent
            kind = topology.kind(name)
            score += weights.node if kind == "node" else weights.zone if name in topology.zones else 0.0
            reasons.append("it has no alert of its own")
        else:
            late = facts.first - start
            if late < grain_seconds:
                score += weights.first
                reasons.append("alerted first")
            else:
                score += weights.first * (1.0 - min(late / span, 1.0))
                reasons.append(f"alerted {late:.0f} s after the first")
            score += weights.words * facts.words
            if facts.words > 0.3:
                reasons.append("its alerts speak of a failure of its own")
            elif facts.words < -0.3:
                reasons.append("its alerts speak of a symptom")
            if facts.load:
                score += weights.load
                reasons.append("its load rose")
            score += weights.share * len(facts.sightings) / n_alerts
            pointing = {other for other in facts.mentions if other in own or other in topology.places}
            if pointing:
                score -= weights.points
                reasons.append(f"its own alerts point at {', '.join(sorted(pointing)[:3])}")
            deeper = [
                other
                for other in topology.callees.get(name, {})
                if other in own and topology.callees[name][other] <= 2 and other not in topology.hubs
            ]
            if deeper and not facts.load:
                score -= weights.explained * min(len(deeper), 2) / 2.0
                reasons.append(f"it depends on {', '.join(sorted(deeper)[:3])}, which alert too")
            if (
                topology.kind(name) == "infra"
                and facts.words > 0
                and len(own) > 3
                and not topology.callers.get(name)
            ):
                score += weights.shared_infra
                reasons.append("it is infrastructure that all use")
        causes.append(
            Cause(
                fingerprint=min(facts.sightings, key=lambda s: s.onset).episode.fingerprint
                if facts
                else None,
                service=name,
                score=round(score, 3),
                reasons=reasons,
            )
        )
    return sorted(
        causes,
        key=lambda cause: (
            -cause.score,
            own[cause.service].first if cause.service in own else 1e18,
            cause.service,
        ),
    )


def _by_entity(sightings: Iterable[Sighting]) -> dict[str, _Own]:
    own: dict[str, _Own] = {}
    words: defaultdict[str, list[float]] = defaultdict(list)
    for seen in sorted(sightings, key=lambda s: s.onset):
        if seen.entity not in own and len(own) >= MAX_PARTIES:
            continue
        facts = own.setdefault(seen.entity, _Own())
        facts.sightings.append(seen)
        facts.first = min(facts.first, seen.onset - seen.wording.held_seconds)
        facts.load = facts.load or seen.wording.load
        if not seen.wording.resource or not seen.subject.mentions:
            facts.mentions |= seen.subject.mentions
        words[seen.entity].append(seen.wording.cause)
    for entity, values in words.items():
        # One alert that speaks of a cause outweighs symptoms beside it.
        own[entity].words = max(max(values), 0.0) + 0.5 * sum(values) / len(values)
    return own


def _silent(own: Mapping[str, _Own], blamers: Mapping[str, set[str]], topology: Topology) -> list[str]:
    votes: Counter[str] = Counter()
    for entity in own:
        for other, hops in topology.callees.get(entity, {}).items():
            if hops <= 2:
                votes[other] += 1
        for node in topology.hosts.get(entity, ()):
            votes[node] += 1
            place = topology.places.get(node)
            if place and place.zone:
                votes[place.zone.lower()] += 1
        for name in own[entity].mentions:
            votes[name] += 2
    nodes = Counter(s.subject.node for facts in own.values() for s in facts.sightings if s.subject.node)
    votes.update(nodes)
    known = [name for name in votes if name not in own]
    return sorted(known, key=lambda name: (-votes[name], name))[:12]


def _covers(
    name: str, own: Mapping[str, _Own], topology: Topology, weights: CauseWeights
) -> dict[str, float]:
    """The other entities that a fault here explains, each 0..1."""
    covered: dict[str, float] = {}
    facts = own.get(name)
    callers = topology.callers.get(name, {})
    guests = topology.guests.get(name, frozenset())
    zone = topology.zones.get(name, frozenset())
    behind = topology.callees.get(name, {}) if facts is not None and facts.load else {}
    for other, theirs in own.items():
        if other == name:
            continue
        if other in callers:
            covered[other] = weights.hop_fade ** (callers[other] - 1)
        elif other in guests or any(s.subject.node == name for s in theirs.sightings):
            covered[other] = 1.0
        elif zone and topology.hosts.get(other, frozenset()) & zone:
            covered[other] = 0.8
        elif other in behind:
            covered[other] = weights.hop_fade ** (behind[other] - 1)
        elif name in theirs.mentions:
            covered[other] = 0.9
    return covered
