"""Which incident an episode belongs to: online, by onsets of entities, with merge and no look-ahead.

Every episode begins in an incident of its own, or joins at once the one that
already has its entity. A few minutes later, when those that belong together
have had the time to arrive, the incident is merged into the one that draws it
most strongly. So incidents only ever merge, and what was put together stays.
"""

from __future__ import annotations

import heapq
import uuid
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from webhooks.companions import Companions
from webhooks.grid import GridWatch
from webhooks.sighting import Key, Sighting
from webhooks.topology import Topology


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each dimension draws at no distance in time, and how fast it fades. Half-lives in seconds."""

    hold_seconds: float = 210.0
    reach_seconds: float = 2400.0
    enough: float = 0.34
    same: float = 0.95
    half_same: float = 900.0
    half_edge: float = 300.0
    hops: tuple[float, ...] = (0.0, 0.85, 0.6, 0.4, 0.25)
    callee: float = 0.7
    covered: float = 0.5
    sibling: float = 0.3
    hosted: float = 0.6
    mention: float = 0.85
    half_mention: float = 900.0
    companion: float = 0.6
    namespace: float = 0.3
    same_name: float = 0.3
    dense: float = 0.15
    dense_blind: float = 0.22
    dense_seconds: float = 90.0
    over: float = 0.5
    sure: float = 0.5


DIMENSIONS = ("same", "edge", "sibling", "hosted", "mention", "companion", "namespace", "name", "density")


@dataclass(frozen=True, slots=True)
class Link:
    """Why an episode is drawn to an incident: strength 0..1 by dimension, and all together."""

    strength: float
    dimensions: dict[str, float]
    to: str


@dataclass(slots=True)
class Party:
    """One entity's part in an incident."""

    first: float
    onsets: list[float] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)


@dataclass
class Group:
    """An incident as correlation knows it."""

    incident_id: str
    tenant: str
    cluster: str
    deadline: float
    members: dict[Key, Sighting] = field(default_factory=dict)
    links: dict[Key, Link] = field(default_factory=dict)
    parties: dict[str, Party] = field(default_factory=dict)
    onsets: list[tuple[float, str]] = field(default_factory=list)
    names: dict[str, float] = field(default_factory=dict)
    namespaces: dict[str, float] = field(default_factory=dict)
    mentioned: dict[str, float] = field(default_factory=dict)
    nodes: dict[str, float] = field(default_factory=dict)
    settled: bool = False
    first: float = 0.0
    last: float = 0.0

    def add(self, seen: Sighting, link: Link | None = None) -> None:
        """Take a sighting in."""
        if seen.key in self.members:
            return
        if link is not None:
            self.links[seen.key] = link
        onset = seen.onset
        self.first = min(self.first, onset) if self.members else onset
        self.last = max(self.last, onset) if self.members else onset
        self.members[seen.key] = seen
        party = self.parties.get(seen.entity)
        if party is None:
            party = self.parties[seen.entity] = Party(onset)
            insort(self.onsets, (onset, seen.entity))
        elif onset < party.first:
            at = bisect_left(self.onsets, (party.first, seen.entity))
            del self.onsets[at]
            party.first = onset
            insort(self.onsets, (onset, seen.entity))
        insort(party.onsets, onset)
        party.sightings.append(seen)
        subject = seen.subject
        _latest(self.names, seen.name, onset)
        if subject.namespace:
            _latest(self.namespaces, subject.namespace, onset)
        for name in subject.mentions:
            _latest(self.mentioned, name, onset)
        for node in (subject.node, *subject.others):
            if node:
                _latest(self.nodes, node, onset)
        self.cluster = self.cluster or subject.cluster

    def ended(self) -> float | None:
        """When its last alert resolved; None while one fires."""
        last = 0.0
        for seen in self.members.values():
            ended = seen.ended
            if ended is None:
                return None
            last = max(last, ended)
        return last


class Correlator:
    """Groups sightings into incidents. `add` them as they arrive; `advance` lets time pass."""

    def __init__(
        self,
        topology: Topology | None = None,
        *,
        weights: Weights | None = None,
        new_id: Callable[[], str] = lambda: f"inc-{uuid.uuid4().hex[:12]}",
    ) -> None:
        self.topology = topology or Topology()
        self.weights = weights or Weights()
        self.groups: dict[str, Group] = {}
        self.home: dict[Key, str] = {}
        self.companions = Companions()
        self.grid = GridWatch()
        self._new_id = new_id
        self._due: list[tuple[float, float, str]] = []

    def add(self, seen: Sighting, *, now: float) -> Group:
        """The incident that a new sighting is put into for now. A known one stays where it is."""
        home = self.home.get(seen.key)
        if home is not None and home in self.groups:
            return self.groups[home]
        self.grid.learn(seen.onset)
        self.companions.learn(seen.entity, seen.onset)
        best = self._best_with_entity(seen)
        if best is None:
            best = Group(
                self._new_id(), seen.episode.tenant, seen.subject.cluster, now + self.weights.hold_seconds
            )
            self.groups[best.incident_id] = best
            heapq.heappush(self._due, (best.deadline, seen.onset, best.incident_id))
            best.add(seen)
        else:
            best.add(seen, self.link(seen, best))
        self.home[seen.key] = best.incident_id
        return best

    def advance(self, now: float) -> list[tuple[str, str]]:
        """Settle what is due; the merges made, as (incident that went, incident that it went into)."""
        due: list[tuple[float, str]] = []
        while self._due and self._due[0][0] <= now:
            _, onset, incident_id = heapq.heappop(self._due)
            group = self.groups.get(incident_id)
            if group is not None and not group.settled:
                due.append((onset, incident_id))
        merged: list[tuple[str, str]] = []
        for _, incident_id in sorted(due):
            group = self.groups.get(incident_id)
            if group is None or group.settled:
                continue
            group.settled = True
            best, link = self._best(group)
            if best is not None:
                best.settled = True
                self.merge(group, best, link)
                merged.append((incident_id, best.incident_id))
        return merged

    def merge(self, source: Group, into: Group, link: Link | None = None) -> None:
        """Let one incident take all of another."""
        for key, seen in source.members.items():
            into.add(seen, source.links.get(key) or link)
            self.home[key] = into.incident_id
        del self.groups[source.incident_id]

    def forget(self, incident_id: str) -> None:
        """Drop an incident that is long over."""
        group = self.groups.pop(incident_id, None)
        for key in group.members if group else ():
            self.home.pop(key, None)

    def _best_with_entity(self, seen: Sighting) -> Group | None:
        best, strongest = None, self.weights.sure
        for group in self.groups.values():
            party = group.parties.get(seen.entity)
            if party is None or not _may_share(seen, group):
                continue
            strength = self._same(seen, group)
            if strength > strongest:
                best, strongest = group, strength
        return best

    def _best(self, source: Group) -> tuple[Group | None, Link | None]:
        best: Group | None = None
        strongest: Link | None = None
        for group in self.groups.values():
            if group is source or group.tenant != source.tenant:
                continue
            for seen in source.members.values():
                if not _may_share(seen, group):
                    continue
                link = self.link(seen, group)
                if link.strength > (strongest.strength if strongest else self.weights.enough):
                    best, strongest = group, link
        return best, strongest

    def link(self, seen: Sighting, group: Group) -> Link:
        """How strongly a sighting is drawn to an incident, by dimension."""
        found: dict[str, float] = {}
        weights = self.weights
        if (
            seen.onset > group.last + weights.reach_seconds
            or seen.onset < group.first - weights.reach_seconds
        ):
            return Link(0.0, found, group.incident_id)
        same = self._same(seen, group)
        if same:
            found["same"] = same
        found["edge"] = self._edge(seen, group)
        found["hosted"] = self._hosted(seen, group)
        found["mention"] = self._mention(seen, group)
        found["companion"] = self._companion(seen, group)
        found["density"] = self._density(seen, group)
        last_named = group.names.get(seen.name)
        if last_named is not None and seen.entity not in group.parties:
            found["name"] = weights.same_name * self._fade(seen.onset - last_named, weights.dense_seconds)
        namespace = seen.subject.namespace
        if not self.topology and namespace in group.namespaces:
            found["namespace"] = weights.namespace * self._fade(
                seen.onset - group.namespaces[namespace], weights.half_edge
            )
        found = {name: value for name, value in found.items() if value > 0.01}
        against = 1.0
        for value in found.values():
            against *= 1.0 - value
        strength = 1.0 - against
        ended = group.ended()
        if ended is not None and seen.onset > ended + self.grid.step_seconds:
            strength *= weights.over
        return Link(strength, found, group.incident_id)

    def _fade(self, apart: float, half: float) -> float:
        apart = max(abs(apart) - self.grid.step_seconds, 0.0)
        return float(0.5 ** (apart / half))

    def _same(self, seen: Sighting, group: Group) -> float:
        party = group.parties.get(seen.entity)
        if party is None:
            return 0.0
        return self.weights.same * self._fade(_nearest(party.onsets, seen.onset), self.weights.half_same)

    def _edge(self, seen: Sighting, group: Group) -> float:
        if not self.topology:
            return 0.0
        weights = self.weights
        best = 0.0
        callees = self.topology.callees.get(seen.entity, {})
        callers = self.topology.callers.get(seen.entity, {})
        parties = group.parties
        for entity in _common(callees, parties):
            hops = callees[entity]
            weight = weights.hops[hops] if entity not in self.topology.hubs else 0.1
            best = max(best, weight * self._fade(seen.onset - parties[entity].first, weights.half_edge))
        above = _common(callers, parties)
        if above and len(above) >= weights.covered * len(parties) and seen.entity not in self.topology.hubs:
            for entity in above:
                weight = weights.callee * weights.hops[callers[entity]] / weights.hops[1]
                best = max(best, weight * self._fade(seen.onset - parties[entity].first, weights.half_edge))
        return best

    def _hosted(self, seen: Sighting, group: Group) -> float:
        weights = self.weights
        best = 0.0
        entity, node = seen.entity, seen.subject.node
        if entity in group.nodes:
            best = self._fade(seen.onset - group.nodes[entity], weights.half_edge)
        for place in (node, *seen.subject.others):
            if place and place in group.parties:
                best = max(best, self._fade(seen.onset - group.parties[place].first, weights.half_edge))
        for other in _common(self.topology.hosts.get(entity, ()), group.parties):
            best = max(best, self._fade(seen.onset - group.parties[other].first, weights.half_edge))
        guests = _common(self.topology.guests.get(entity, ()), group.parties)
        if guests and len(guests) >= weights.covered * len(group.parties):
            best = max(
                best,
                *(self._fade(seen.onset - group.parties[name].first, weights.half_edge) for name in guests),
            )
        return weights.hosted * best

    def _mention(self, seen: Sighting, group: Group) -> float:
        weights = self.weights
        best = 0.0
        for name in seen.subject.mentions:
            if name in group.parties:
                best = max(best, self._fade(seen.onset - group.parties[name].first, weights.half_mention))
            elif name in group.mentioned:
                best = max(best, 0.7 * self._fade(seen.onset - group.mentioned[name], weights.half_mention))
        if seen.entity in group.mentioned:
            best = max(best, self._fade(seen.onset - group.mentioned[seen.entity], weights.half_mention))
        return weights.mention * best

    def _companion(self, seen: Sighting, group: Group) -> float:
        best = 0.0
        for entity, party in group.parties.items() if len(group.parties) <= 64 else ():
            strength = self.companions.strength(seen.entity, entity)
            if strength > best:
                best = max(best, strength * self._fade(seen.onset - party.first, self.weights.half_edge))
        return self.weights.companion * best

    def _density(self, seen: Sighting, group: Group) -> float:
        weights = self.weights
        reach = weights.dense_seconds + self.grid.step_seconds
        low = bisect_left(group.onsets, (seen.onset - reach, ""))
        high = bisect_left(group.onsets, (seen.onset + reach, "￿"))
        near = min(high - low, 8)
        each = weights.dense if self.topology else weights.dense_blind
        if self.grid.step_seconds:
            each *= 0.5
        return 1.0 - (1.0 - each) ** near


def _may_share(seen: Sighting, group: Group) -> bool:
    if seen.episode.tenant != group.tenant:
        return False
    cluster = seen.subject.cluster
    return not cluster or not group.cluster or cluster == group.cluster


def _nearest(onsets: list[float], onset: float) -> float:
    at = bisect_left(onsets, onset)
    return min((abs(onset - other) for other in onsets[max(at - 1, 0) : at + 1]), default=1e18)


def _latest(of: dict[str, float], name: str, onset: float) -> None:
    if of.get(name, -1e18) < onset:
        of[name] = onset


def _common(one: Iterable[str], parties: dict[str, Party]) -> list[str]:
    return [name for name in one if name in parties]
