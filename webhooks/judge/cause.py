"""The probable root cause of an incident: entities ranked by weighed evidence, told in words.

A candidate explains the entities that depend on it, run on it or name it in
their alerts. Candidates are what alerts, and also the silent: dependencies,
nodes and zones that several of the affected have in common.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set

import msgspec

from sidecar.records import Cause
from webhooks.correlate.sighting import Sighting
from webhooks.correlate.topology import Topology
from webhooks.judge.evidence import RECENT_CHANGE_SECONDS, Evidence

MAX_PARTIES = 300
"""Entities that are compared with each other; an incident of more is a storm, and its first movers count."""

HOP_FADE = 0.85
SILENT_CANDIDATES = 12


class CauseWeights(msgspec.Struct, frozen=True):
    """What each kind of evidence is worth, for a value of 1."""

    covers: float = 1.6
    blamed: float = 1.2
    points: float = -0.6
    words: float = 0.7
    hard: float = 0.2
    first: float = 0.5
    share: float = 0.4
    load: float = 1.2
    shared: float = 0.8
    explained: float = -0.7
    usual: float = -1.0
    external: float = -0.2
    silent: float = -1.2
    silent_node: float = 0.2
    silent_zone: float = 0.0
    silent_blamed: float = 0.3
    changed: float = 1.2
    anomalous: float = 0.4
    leads: float = 0.6
    led: float = -0.4


class _Own(msgspec.Struct):
    sightings: list[Sighting] = []
    first: float = 1e18
    words: float = 0.0
    load: bool = False
    hard: bool = False
    scraped: bool = False
    serves_all: bool = False
    down_node: bool = False
    mentions: set[str] = set()


def rank(
    sightings: Iterable[Sighting],
    topology: Topology,
    *,
    grain_seconds: float = 15.0,
    usual: Mapping[str, float] | None = None,
    weights: CauseWeights | None = None,
    evidence: Evidence | None = None,
) -> list[Cause]:
    """Candidates, the most probable first; empty where there is no sighting.

    `grain_seconds`: onsets closer than this are simultaneous. `usual`: the share of earlier
    incidents that an entity was part of, 0..1: who alerts in each of them causes few.
    """
    weights = weights or CauseWeights()
    case = _Case(sightings, topology, grain_seconds, usual or {}, evidence or Evidence())
    if not case.own:
        return []
    causes = []
    for name in [*case.own, *case.silent()]:
        weighed, reasons = case.evidence(name)
        facts = case.own.get(name)
        causes.append(
            Cause(
                fingerprint=facts.sightings[0].episode.fingerprint if facts else None,
                service=name,
                score=round(sum(getattr(weights, kind) * value for kind, value in weighed.items()), 3),
                reasons=reasons,
            )
        )
    first = {name: facts.first for name, facts in case.own.items()}
    return sorted(causes, key=lambda c: (-c.score, first.get(c.service, 1e18), c.service))


class _Case:
    """One incident's alerts, gathered by entity."""

    def __init__(
        self,
        sightings: Iterable[Sighting],
        topology: Topology,
        grain_seconds: float,
        usual: Mapping[str, float],
        told: Evidence,
    ) -> None:
        self.told = told
        self.topology = topology
        self.grain = grain_seconds
        self.usual = usual
        self.own = _by_entity(sightings, topology)
        self.blamers: defaultdict[str, set[str]] = defaultdict(set)
        for entity, facts in self.own.items():
            for name in facts.mentions:
                self.blamers[name].add(entity)
        onsets = [facts.first for facts in self.own.values()]
        self.start = min(onsets, default=0.0)
        self.leads = {
            entity: {
                one.follower: one for one in told.precedences(entity, self.start) if one.follower in self.own
            }
            for entity in self.own
        }
        self.span = max(max(onsets, default=0.0) - self.start, grain_seconds, 60.0)
        self.n_alerts = sum(len(facts.sightings) for facts in self.own.values())

    def evidence(self, name: str) -> tuple[dict[str, float], list[str]]:
        """What speaks for and against a candidate, 0..1 each, and in words."""
        found: dict[str, float] = {}
        reasons: list[str] = []
        facts = self.own.get(name)
        n_others = max(len(self.own) - (facts is not None), 1)
        covered = self._covers(name)
        found["covers"] = sum(covered.values()) / n_others
        if covered:
            reasons.append(f"{len(covered)} of {n_others} others depend on it, run on it or name it")
        blaming = self.blamers.get(name, set()) - {name}
        if blaming:
            found["blamed"] = 0.4 + 0.6 * min(len(blaming) / n_others, 1.0)
            reasons.append(f"named in the alerts of {', '.join(sorted(blaming)[:5])}")
        if self.topology.kind(name) == "external":
            found["external"] = 1.0
        found["usual"] = self.usual.get(name, 0.0)
        self._told_evidence(name, found, reasons)
        if facts is None:
            found["silent"] = 1.0
            found["silent_node"] = float(name in self.topology.guests)
            found["silent_zone"] = float(name in self.topology.zones)
            found["silent_blamed"] = float(bool(blaming))
            reasons.append("it has no alert of its own")
            return found, reasons
        self._own_evidence(name, facts, found, reasons)
        return found, reasons

    def _told_evidence(self, name: str, found: dict[str, float], reasons: list[str]) -> None:
        """What was changed there just before, and whether its metrics went wrong."""
        facts = self.own.get(name)
        onset = facts.first if facts is not None else self.start
        change = self.told.change_before(name, onset)
        if change is not None:
            ago = onset - change.at
            found["changed"] = 1.0 - 0.5 * ago / RECENT_CHANGE_SECONDS
            what = f"{change.kind}: {change.text}" if change.text else change.kind
            reasons.append(f"changed {ago:.0f} s before ({what})")
        anomaly = self.told.anomaly_near(name, onset)
        if anomaly is not None:
            # The earlier it went wrong before the first alert, the likelier it drew the others along.
            found["anomalous"] = 1.0 if anomaly.at <= self.start else 0.5
            early = onset - anomaly.at
            when = f"{early:.0f} s before" if early >= 0.0 else f"{-early:.0f} s after its alert began"
            reasons.append(f"its metrics ({anomaly.query}) left the expected {when}")
        self._lag_evidence(name, found, reasons)

    def _lag_evidence(self, name: str, found: dict[str, float], reasons: list[str]) -> None:
        """Whose metrics its own moves before, and whose before its own."""
        n_others = max(len(self.own) - 1, 1)
        followers = self.leads.get(name, {})
        if followers:
            found["leads"] = len(followers) / n_others
            lag = min(one.lag_seconds for one in followers.values())
            shown = ", ".join(sorted(followers)[:3])
            reasons.append(f"its metric moves {lag:.0f} s and more before that of {shown} (Granger test)")
        leaders = sorted(other for other, theirs in self.leads.items() if name in theirs)
        if leaders:
            found["led"] = len(leaders) / n_others
            reasons.append(f"its metric moves after that of {', '.join(leaders[:3])} (Granger test)")

    def _own_evidence(self, name: str, facts: _Own, found: dict[str, float], reasons: list[str]) -> None:
        late = facts.first - self.start
        found["first"] = 1.0 if late < self.grain else 1.0 - min(late / self.span, 1.0)
        reasons.append("alerted first" if late < self.grain else f"alerted {late:.0f} s after the first")
        found["words"] = facts.words
        if facts.words > 0.3:
            reasons.append("its alerts speak of a failure of its own")
        elif facts.words < -0.3:
            reasons.append("its alerts speak of a symptom")
        found["hard"] = float(facts.hard)
        found["share"] = len(facts.sightings) / self.n_alerts
        if facts.load:
            found["load"] = 1.0
            reasons.append("its load rose")
        if facts.serves_all:
            found["shared"] = 1.0
            reasons.append("it is infrastructure that all use")
        pointing = {o for o in facts.mentions if o != name and (o in self.own or o in self.topology.places)}
        if pointing:
            found["points"] = 1.0
            reasons.append(f"its own alerts point at {', '.join(sorted(pointing)[:3])}")
        callees = self.topology.callees.get(name, {})
        deeper = {
            other: 1.0 - self.usual.get(other, 0.0)
            for other in self.own
            if callees.get(other, 9) <= 2 and other not in self.topology.hubs
        }
        nodes = self.topology.hosts.get(name, frozenset()) | {s.subject.node for s in facts.sightings}
        deeper |= {
            node: 2.0 for node in nodes if node != name and node in self.own and self.own[node].down_node
        }
        if deeper and not facts.load:
            found["explained"] = min(sum(deeper.values()), 2.0) / 2.0
            reasons.append(f"it depends on {', '.join(sorted(deeper)[:3])}, which alert too")
        if self.usual.get(name, 0.0) > 0.4:
            reasons.append("it alerts in most incidents")

    def silent(self) -> list[str]:
        """Places without an alert that at least two of the affected have in common, or that one names."""
        votes: Counter[str] = Counter()
        named: set[str] = set()
        for facts in self.own.values():
            places: set[str] = set()
            for seen in facts.sightings[:1]:
                places |= {o for o, hops in self.topology.callees.get(seen.entity, {}).items() if hops <= 2}
                nodes = set(self.topology.hosts.get(seen.entity, ()))
                places |= nodes
                for node in nodes:
                    place = self.topology.places.get(node)
                    if place and place.zone:
                        places.add(place.zone.lower())
            places |= {s.subject.node for s in facts.sightings if s.subject.node}
            votes.update(places)
            named |= facts.mentions
        known = {name for name, n in votes.items() if n >= 2} | named
        known |= votes.keys() & set(self.told.changed_since(self.start - RECENT_CHANGE_SECONDS))
        return sorted(known - self.own.keys(), key=lambda name: (-votes[name], name))[:SILENT_CANDIDATES]

    def _covers(self, name: str) -> dict[str, float]:
        """The other entities that a fault here explains, each 0..1."""
        topology = self.topology
        facts = self.own.get(name)
        callers = topology.callers.get(name, {})
        guests = topology.guests.get(name, frozenset())
        zone = topology.zones.get(name, frozenset())
        behind = topology.callees.get(name, {}) if facts is not None and facts.load else {}
        covered: dict[str, float] = {}
        for other, theirs in self.own.items():
            if other == name:
                continue
            reach = [0.0]
            if other in callers:
                reach.append(HOP_FADE ** (callers[other] - 1))
            if other in behind:
                reach.append(HOP_FADE ** (behind[other] - 1))
            if other in guests or any(s.subject.node == name for s in theirs.sightings):
                reach.append(1.0)
            elif guests and not guests.isdisjoint(topology.callees.get(other, ())):
                reach.append(HOP_FADE)
            if zone and not zone.isdisjoint(topology.hosts.get(other, ())):
                reach.append(0.7)
            if name in theirs.mentions:
                reach.append(0.9)
            if facts is not None and facts.serves_all:
                reach.append(0.7)
            if facts is not None and facts.down_node and not topology:
                reach.append(0.5)
            if theirs.scraped and facts is not None and any(s.wording.monitoring for s in facts.sightings):
                reach.append(1.0)
            if max(reach) > 0.0:
                covered[other] = max(reach)
        return covered


def _by_entity(sightings: Iterable[Sighting], topology: Topology) -> dict[str, _Own]:
    own: dict[str, _Own] = {}
    words: defaultdict[str, list[float]] = defaultdict(list)
    for seen in sorted(sightings, key=lambda s: (s.onset, s.key)):
        if seen.entity not in own and len(own) >= MAX_PARTIES:
            continue
        facts = own.setdefault(seen.entity, _Own())
        wording = seen.wording
        facts.sightings.append(seen)
        facts.first = min(facts.first, seen.onset)
        facts.load = facts.load or wording.load
        facts.hard = facts.hard or wording.hard
        facts.scraped = facts.scraped or wording.scraped
        facts.down_node = facts.down_node or (wording.node and wording.down)
        facts.serves_all = facts.serves_all or wording.serves_all
        facts.mentions |= seen.subject.mentions
        words[seen.entity].append(wording.cause)
    for entity, values in words.items():
        # One alert that speaks of a cause outweighs symptoms beside it.
        own[entity].words = 0.6 * max(*values, values[0]) + 0.4 * sum(values) / len(values)
    return own


def shares(groups: Iterable[Set[str]]) -> dict[str, float]:
    """How usual each entity is: the share of incidents of several entities that it was part of, shrunk.

    >>> shares([{"a", "b"}, {"a", "c"}, {"a", "d"}, {"b"}])["a"]
    0.5
    """
    counts: Counter[str] = Counter()
    n = 0
    for entities in groups:
        if len(entities) > 1:
            n += 1
            counts.update(entities)
    return {name: max(count - 1, 0) / (n + 1) for name, count in counts.items()}
