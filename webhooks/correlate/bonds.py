"""How strongly an alert is drawn to an incident, by dimension, and what company it has there."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping
from itertools import islice

from webhooks.correlate.companions import Companions
from webhooks.correlate.grid import GridWatch
from webhooks.correlate.group import Group, Link, Party
from webhooks.correlate.habits import Habits
from webhooks.correlate.lags import Lags, Steady
from webhooks.correlate.likeness import Likeness
from webhooks.correlate.meaning import Encode
from webhooks.correlate.reach import FAR_SECONDS, far_seconds
from webhooks.correlate.sighting import Sighting
from webhooks.correlate.topology import Topology
from webhooks.correlate.verdicts import Verdicts
from webhooks.correlate.weights import Weights
from webhooks.judge.evidence import Evidence

MAX_COMPANY = 48
"""So many entities are looked at for company; with that many there is some."""

MAX_COMPANIONS = 64

SAME_ENTITY = 0.6
FAINT = 0.01
"""What binds less is not told."""

LATE = 0.4
"""What company counts that is of the same entity, or that began much earlier or later."""


class Bonds:
    """What binds alerts: the graph, and what the stream itself has taught."""

    def __init__(
        self,
        topology: Topology,
        weights: Weights,
        evidence: Evidence | None = None,
        encode: Encode | None = None,
    ) -> None:
        self.topology = topology
        self.weights = weights
        self.evidence = Evidence() if evidence is None else evidence
        self.companions = Companions()
        self.lags = Lags()
        self.likeness = Likeness(encode)
        self.grid = GridWatch()
        self.habits = Habits()
        self.verdicts = Verdicts()

    def meet(self, seen: Sighting) -> None:
        """Learn from one more onset."""
        self.grid.learn(seen.onset)
        self.companions.learn(seen.entity, seen.onset)
        self.lags.learn(seen.entity, seen.onset)
        self.likeness.learn(seen)

    def company(self, seen: Sighting, group: Group) -> float:
        """How many other entities of the incident, that are there for a reason, began when it did.

        Another rule on the same entity counts for somewhat less than another entity. Where its
        incident came out of another, those of before count as well.
        """
        own = self._company_in(group, seen)
        if group.origin is not None and seen.key in group.origin.members:
            return max(own, self.company(seen, group.origin))
        return own

    def _company_in(self, group: Group, seen: Sighting) -> float:
        near = self.weights.company_seconds + self.grid.step_seconds
        total = 0.0
        for entity, party in islice(group.parties.items(), MAX_COMPANY):
            own = entity == seen.entity
            if own and len(party.names) == 1 and seen.name in party.names:
                continue
            others = [one for name, one in party.names.items() if not own or name != seen.name]
            weight = 1.0 - min(self.habits.habit(one) for one in others[:4])
            weight = (
                SAME_ENTITY * weight if own else max(weight, self.companions.strength(seen.entity, entity))
            )
            onsets = [one.onset for one in others[:4]] if own else party.onsets
            total += weight if nearest(onsets, seen.onset) <= near else LATE * weight
        return total

    def link(self, seen: Sighting, group: Group) -> Link:
        """How strongly a sighting is drawn to an incident, by dimension."""
        weights = self.weights
        apart = max(seen.onset - group.last, group.first - seen.onset)
        if apart > weights.reach_seconds or (apart > FAR_SECONDS and not _acquainted(seen, group)):
            return Link(0.0, {}, group.incident_id)
        found = self._dimensions(seen, group, apart)
        against = 1.0
        for value in found.values():
            against *= 1.0 - value
        strength = 1.0 - against
        if not strength:
            return Link(0.0, found, group.incident_id)
        ended = group.ended()
        if ended is not None and seen.onset > ended + self.grid.step_seconds:
            strength *= weights.over
        if "mention" not in found and "lag" not in found:
            strength *= 1.0 - weights.habit * self.habits.habit(seen)
        if self.verdicts.parts:
            strength *= self._estranged(seen, group)
        return Link(strength, found, group.incident_id)

    def _dimensions(self, seen: Sighting, group: Group, apart: float) -> dict[str, float]:
        """What binds, each 0..1, less what is next to nothing; asked so often that it asks only what may."""
        weights, graph = self.weights, bool(self.topology)
        foreign = seen.entity not in group.parties
        found: dict[str, float] = {}
        if not foreign:
            found["same"] = self._same(seen, group)
        if graph:
            found["edge"] = self._edge(seen, group)
        found["hosted"] = self._hosted(seen, group)
        if seen.subject.mentions or group.mentioned:
            found["mention"] = self._mention(seen, group)
        found["companion"] = self._companion(seen, group)
        if steady := self.lags.of(seen.entity):
            found["lag"] = self._lagging(seen, group, steady)
        if apart <= weights.dense_seconds + self.grid.step_seconds:
            found["density"] = self._density(seen, group)
        if foreign:
            found["words"] = self._alike(seen, group)
        if self.evidence:
            found["anomaly"] = self._anomaly(seen, group)
            found["change"] = self._change(seen, group)
        if foreign and seen.name in group.names:
            fade = self._fade(seen.onset - group.names[seen.name], weights.dense_seconds)
            found["name"] = weights.same_name * fade
        namespace = seen.subject.namespace
        if not graph and namespace in group.namespaces:
            fade = self._fade(seen.onset - group.namespaces[namespace], weights.half_edge)
            found["namespace"] = weights.namespace * fade
        if self.verdicts.joins:
            found["said"] = self._said(seen, group)
        return {name: value for name, value in found.items() if value > FAINT}

    def strangers(self, one: Group, other: Group) -> bool:
        """Whether nothing that they know of each other may draw two incidents together that are far apart."""
        return not _share_a_name(one, other) and not self.lags.any_between(one.parties, other.parties)

    def far_seconds(self, enough: float) -> float:
        """How far apart in time two incidents without a common name cannot be drawn together so much."""
        # What an anomaly, a change or people's words bind does not fade.
        fades = not self.evidence and not self.verdicts.joins
        return far_seconds(self.weights, enough if fades else 0.0) + self.grid.step_seconds

    def _fade(self, apart: float, half: float) -> float:
        apart = max(abs(apart) - self.grid.step_seconds, 0.0)
        return float(0.5 ** (apart / half))

    def _same(self, seen: Sighting, group: Group) -> float:
        party = group.parties.get(seen.entity)
        if party is None:
            return 0.0
        weights = self.weights
        apart = nearest(party.onsets, seen.onset)
        strength = weights.same * self._fade(apart, weights.half_same)
        if any(other.ended is None for other in party.sightings):
            strength = 1.0 - (1.0 - strength) * (
                1.0 - weights.active * self._fade(apart, weights.half_active)
            )
        return strength

    def _edge(self, seen: Sighting, group: Group) -> float:
        weights, graph, parties = self.weights, self.topology, group.parties
        best = 0.0
        callees = graph.callees.get(seen.entity, {})
        for entity in _common(callees, parties):
            weight = weights.edge * weights.hops[callees[entity]] if entity not in graph.hubs else 0.1
            best = max(best, weight * self._fade(seen.onset - parties[entity].first, weights.half_edge))
        callers = graph.callers.get(seen.entity, {})
        above = _common(callers, parties)
        if above and len(above) >= weights.covered * len(parties) and seen.entity not in graph.hubs:
            for entity in above:
                weight = weights.callee * weights.hops[callers[entity]] / weights.hops[1]
                best = max(best, weight * self._fade(seen.onset - parties[entity].first, weights.half_edge))
        return best

    def _hosted(self, seen: Sighting, group: Group) -> float:
        graph, parties, entity = self.topology, group.parties, seen.entity
        places = [seen.subject.node, *seen.subject.others, *graph.hosts.get(entity, ())]
        guests = _common(graph.guests[entity], parties) if entity in graph.guests else []
        if len(guests) >= self.weights.covered * len(parties):
            places += guests
        onsets = [parties[place].first for place in places if place in parties]
        if entity in group.nodes:
            onsets.append(group.nodes[entity])
        if not onsets:
            return 0.0
        apart = min(abs(seen.onset - onset) for onset in onsets)
        return self.weights.hosted * self._fade(apart, self.weights.half_edge)

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
        partners = self.companions.partners(seen.entity)
        if not partners or len(group.parties) > MAX_COMPANIONS:
            return best
        for entity in _common(partners, group.parties):
            strength = self.companions.strength(seen.entity, entity)
            if strength > best:
                apart = seen.onset - group.parties[entity].first
                best = max(best, strength * self._fade(apart, self.weights.half_edge))
        return self.weights.companion * best

    def _lagging(self, seen: Sighting, group: Group, steady: Mapping[str, Steady]) -> float:
        """Whether it began as long after another of the incident, or before it, as it usually does."""
        best = 0.0
        for entity in _common(steady, group.parties):
            lag = steady[entity]
            off = seen.onset - group.parties[entity].first - lag.seconds
            best = max(best, lag.strength * self._fade(off, self.weights.half_lag))
        return self.weights.lag * best

    def _alike(self, seen: Sighting, group: Group) -> float:
        """What the words of two rules have in common, of which one fired here and one there."""
        best = 0.0
        for name, last in islice(group.names.items(), MAX_COMPANY):
            alike = self.likeness.of(seen.name, name)
            if alike > best:
                best = max(best, alike * self._fade(seen.onset - last, self.weights.half_mention))
        return self.weights.words * best

    def _anomaly(self, seen: Sighting, group: Group) -> float:
        """Whether metrics of both went wrong together, which is nearer the fault than their alerts are."""
        own = self.evidence.anomaly_near(seen.entity, seen.onset)
        if own is None:
            return 0.0
        best = 0.0
        for entity, party in islice(group.parties.items(), MAX_COMPANY):
            other = self.evidence.anomaly_near(entity, party.first) if entity != seen.entity else None
            if other is not None:
                best = max(best, self._fade(own.at - other.at, self.weights.half_anomaly))
        return self.weights.anomaly * best

    def _change(self, seen: Sighting, group: Group) -> float:
        """Whether both follow one change that concerned both."""
        own = self.evidence.change_before(seen.entity, seen.onset)
        if own is None:
            return 0.0
        shared = any(
            self.evidence.change_before(entity, party.first) == own
            for entity, party in islice(group.parties.items(), MAX_COMPANY)
            if entity != seen.entity
        )
        return self.weights.change if shared else 0.0

    def _said(self, seen: Sighting, group: Group) -> float:
        """What people's "duplicate" says: by the rule of the incident that goes with it best."""
        tenant, half = group.tenant, self.weights.half_mention
        names = islice(group.names.items(), MAX_COMPANY)
        return max(
            (
                self.verdicts.together(tenant, seen.name, name) * self._fade(seen.onset - last, half)
                for name, last in names
            ),
            default=0.0,
        )

    def _estranged(self, seen: Sighting, group: Group) -> float:
        """What people's "wrong merge" leaves: by the rule of the incident that goes with it least badly."""
        names = islice(group.names, MAX_COMPANY)
        return max((self.verdicts.apart(group.tenant, seen.name, name) for name in names), default=1.0)

    def _acquaintance(self, one: str, other: str) -> float:
        """What beginning at the same time says of two entities: less where the graph knows of no relation."""
        graph = self.topology
        known = graph.callees.get(one)
        if known is None or one == other:
            return 1.0
        related = (
            other in known
            or other in graph.callers.get(one, ())
            or other in graph.hosts.get(one, ())
            or one in graph.hosts.get(other, ())
            or not (graph.callees.get(other) or graph.callers.get(other))
        )
        return self.weights.neighbours if related else self.weights.strangers

    def _density(self, seen: Sighting, group: Group) -> float:
        weights = self.weights
        reach = weights.dense_seconds + self.grid.step_seconds
        low = bisect_left(group.onsets, (seen.onset - reach, ""))
        high = bisect_left(group.onsets, (seen.onset + reach, "￿"))
        near = 0.0
        for _, entity in group.onsets[low : min(high, low + 12)]:
            habit = min((self.habits.habit(one) for one in group.parties[entity].sightings[:3]), default=0.0)
            near += (1.0 - weights.habit * habit) * self._acquaintance(seen.entity, entity)
        each = weights.dense
        if self.grid.step_seconds:
            each *= 0.5
        return float(1.0 - (1.0 - each) ** min(near, 8.0))


def may_share(seen: Sighting, group: Group) -> bool:
    """Whether a sighting may be in an incident at all: of the same tenant, and of no other cluster."""
    if seen.episode.tenant != group.tenant or seen.apart != group.apart:
        return False
    cluster = seen.subject.cluster
    return not cluster or not group.cluster or cluster == group.cluster


def _share_a_name(one: Group, other: Group) -> bool:
    """Whether one has, or names, an entity that the other has or names."""
    return not (
        one.parties.keys().isdisjoint(other.parties)
        and one.parties.keys().isdisjoint(other.mentioned)
        and one.mentioned.keys().isdisjoint(other.parties)
        and one.mentioned.keys().isdisjoint(other.mentioned)
    )


def _acquainted(seen: Sighting, group: Group) -> bool:
    """Whether an incident has the sighting's entity, or names it, or is named by it."""
    return (
        seen.entity in group.parties
        or seen.entity in group.mentioned
        or any(name in group.parties or name in group.mentioned for name in seen.subject.mentions)
    )


def nearest(onsets: list[float], onset: float) -> float:
    """Distance to the nearest of sorted onsets."""
    at = bisect_left(onsets, onset)
    after = onsets[at] - onset if at < len(onsets) else 1e18
    return min(onset - onsets[at - 1], after) if at else after


def _common(one: Collection[str], parties: dict[str, Party]) -> list[str]:
    """Names in both."""
    if len(parties) < len(one):
        return [name for name in parties if name in one]
    return [name for name in one if name in parties]
