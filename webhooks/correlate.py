"""Which incident an episode belongs to: online, by onsets of entities, with merge and no look-ahead.

Every episode begins in an incident of its own, or joins at once the one that
already has its entity. A few minutes later, when those that belong together
have had the time to arrive, the incident is merged into the one that draws it
most strongly. So incidents only ever merge, and what was put together stays.
"""

from __future__ import annotations

import heapq
import uuid
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from webhooks.companions import Companions
from webhooks.grid import GridWatch
from webhooks.group import Group, Link, Merge, Party
from webhooks.habits import Habits
from webhooks.sighting import Key, Sighting
from webhooks.topology import Topology


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each dimension draws at no distance in time, and how fast it fades. Half-lives in seconds."""

    hold_seconds: float = 60.0
    reach_seconds: float = 2400.0
    enough: float = 0.3
    same: float = 0.33
    half_same: float = 430.0
    active: float = 0.28
    half_active: float = 1700.0
    half_edge: float = 180.0
    hops: tuple[float, ...] = (0.0, 0.85, 0.6, 0.4, 0.25)
    edge: float = 0.25
    callee: float = 0.6
    covered: float = 0.4
    hosted: float = 0.32
    mention: float = 0.55
    half_mention: float = 600.0
    companion: float = 0.25
    namespace: float = 0.12
    same_name: float = 0.75
    dense: float = 0.5
    dense_seconds: float = 45.0
    strangers: float = 0.7
    over: float = 0.85
    sure_seconds: float = 110.0
    again_seconds: float = 45.0
    tries: int = 3
    enough_again: float = 0.345
    enough_now: float = 0.9
    near_groups: int = 256
    habit: float = 0.75
    company_seconds: float = 130.0


MAX_COMPANY = 48
"""So many entities are looked at for company; with that many there is some."""

SAME_ENTITY = 0.6
LATE = 0.4
"""What company counts that is of the same entity, or that began much earlier or later."""

FAR_SECONDS = 900.0
"""So far apart in time, only an entity that both know can still bind."""


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
        self.habits = Habits()
        self._fresh: list[str] = []
        self._due: list[tuple[float, float, str]] = []
        self._to_learn: deque[tuple[float, Sighting]] = deque()

    def add(self, seen: Sighting, *, now: float) -> Group:
        """The incident that a new sighting is put into for now. A known one stays where it is."""
        home = self.home.get(seen.key)
        if home is not None and home in self.groups:
            return self.groups[home]
        self.grid.learn(seen.onset)
        self.companions.learn(seen.entity, seen.onset)
        self._to_learn.append((now + self.weights.company_seconds, seen))
        best = self._best_with_entity(seen)
        if best is None:
            best = Group(
                self._new_id(), seen.episode.tenant, seen.subject.cluster, now + self.weights.hold_seconds
            )
            self.groups[best.incident_id] = best
            heapq.heappush(self._due, (best.deadline, seen.onset, best.incident_id))
            best.first = seen.onset
            best.add(seen)
            self._fresh.append(best.incident_id)
        else:
            best.add(seen, self.link(seen, best))
        self.home[seen.key] = best.incident_id
        self._touch(best)
        return best

    def advance(self, now: float) -> list[Merge]:
        """Let time pass: settle what is due; the merges made, in order."""
        merged = self._merge_at_once()
        while self._due and self._due[0][0] <= now:
            deadline, _, incident_id = heapq.heappop(self._due)
            group = self.groups.get(incident_id)
            if group is None or group.deadline != deadline:
                continue
            best, link = self._best(group)
            if best is not None:
                # What has just grown is looked at anew.
                tries = max(best.tries, 1)
                merged.append(self.merge(group, best, link))
                group = self.groups[merged[-1].into]
                group.tries = tries
            else:
                group.tries += 1
            # While it is young, those that belong to it may still be gathering elsewhere.
            if group.tries < self.weights.tries:
                group.deadline = deadline + self.weights.again_seconds
                heapq.heappush(self._due, (group.deadline, group.first, group.incident_id))
            else:
                group.deadline = 0.0
        while self._to_learn and self._to_learn[0][0] <= now:
            seen = self._to_learn.popleft()[1]
            home = self.groups.get(self.home.get(seen.key, ""))
            if home is not None:
                self.habits.learn(seen, self.company(seen, home))
        return merged

    def refresh(self, key: Key) -> Group | None:
        """Take in that a known episode changed; its incident."""
        group = self.groups.get(self.home.get(key, ""))
        if group is not None:
            group.refresh(group.members[key])
        return group

    def next_due(self) -> float | None:
        """When `advance` next has something to settle; None while nothing waits."""
        return self._due[0][0] if self._due else None

    def recall(self, incident_id: str, sightings: Iterable[Sighting], *, now: float) -> None:
        """Take in an incident of before a restart; where it is young, it may still merge."""
        ordered = sorted(sightings, key=lambda seen: (seen.heard, seen.key))
        if not ordered:
            return
        head = ordered[0]
        group = Group(incident_id, head.episode.tenant, head.subject.cluster, 0.0, first=head.onset)
        for seen in ordered:
            self.grid.learn(seen.onset)
            self.companions.learn(seen.entity, seen.onset)
            self._to_learn.append((seen.heard + self.weights.company_seconds, seen))
            group.add(seen)
            self.home[seen.key] = incident_id
        self.groups[incident_id] = group
        group.tries = self.weights.tries
        if now - head.heard < self.weights.hold_seconds + self.weights.tries * self.weights.again_seconds:
            group.tries, group.deadline = 0, now + self.weights.hold_seconds
            heapq.heappush(self._due, (group.deadline, group.first, incident_id))

    def _merge_at_once(self) -> list[Merge]:
        """Merge new incidents whose place is plain already."""
        merged: list[Merge] = []
        fresh, self._fresh = self._fresh, []
        for incident_id in fresh:
            group = self.groups.get(incident_id)
            if group is None:
                continue
            best, link = self._best(group, self.weights.enough_now)
            if best is not None:
                merged.append(self.merge(group, best, link))
        return merged

    def company(self, seen: Sighting, group: Group) -> float:
        """How many other entities of the incident, that are there for a reason, began when it did.

        Another rule on the same entity counts for somewhat less than another entity.
        """
        near = self.weights.company_seconds + self.grid.step_seconds
        total = 0.0
        for entity, party in islice(group.parties.items(), MAX_COMPANY):
            own = entity == seen.entity
            others = [one for name, one in party.names.items() if not own or name != seen.name]
            if not others:
                continue
            weight = 1.0 - min(self.habits.habit(one) for one in others[:4])
            weight = (
                SAME_ENTITY * weight if own else max(weight, self.companions.strength(seen.entity, entity))
            )
            onsets = [one.onset for one in others[:4]] if own else party.onsets
            total += weight if _nearest(onsets, seen.onset) <= near else LATE * weight
        return total

    def merge(self, one: Group, other: Group, link: Link | None = None) -> Merge:
        """Let the smaller of two incidents go into the larger."""
        into, source = (other, one) if len(other.members) >= len(one.members) else (one, other)
        for key, seen in source.members.items():
            into.add(seen, source.links.get(key) or link)
            self.home[key] = into.incident_id
        del self.groups[source.incident_id]
        self._touch(into)
        return Merge(source.incident_id, into.incident_id, tuple(source.members))

    def forget(self, incident_id: str) -> None:
        """Drop an incident that is long over."""
        group = self.groups.pop(incident_id, None)
        for key in group.members if group else ():
            self.home.pop(key, None)

    def _touch(self, group: Group) -> None:
        """Keep `groups` in the order of last activity, so that the near ones are found at its end."""
        self.groups[group.incident_id] = self.groups.pop(group.incident_id)

    def _near(self) -> list[Group]:
        """The incidents of latest activity: beyond so many, a new alert is compared with no more."""
        return list(islice(reversed(self.groups.values()), self.weights.near_groups))

    def _best_with_entity(self, seen: Sighting) -> Group | None:
        best, nearest = None, self.weights.sure_seconds
        for group in self._near():
            party = group.parties.get(seen.entity)
            if party is None or not _may_share(seen, group):
                continue
            apart = _nearest(party.onsets, seen.onset)
            if apart <= nearest:
                best, nearest = group, apart
        return best

    def _best(self, source: Group, enough: float | None = None) -> tuple[Group | None, Link | None]:
        best: Group | None = None
        strongest: Link | None = None
        if enough is None:
            enough = self.weights.enough if len(source.parties) == 1 else self.weights.enough_again
        for group in self._near():
            if group is source or group.tenant != source.tenant:
                continue
            if group.last + self.weights.reach_seconds < source.first:
                continue
            small, large = (source, group) if len(source.parties) <= len(group.parties) else (group, source)
            link = self._between(small, large)
            if link.strength > (strongest.strength if strongest else enough):
                best, strongest = group, link
        return best, strongest

    def _between(self, small: Group, large: Group) -> Link:
        """How strongly one incident's entities are drawn to another incident, on average."""
        total, best = 0.0, Link(0.0, {}, large.incident_id)
        for party in small.parties.values():
            links = [self.link(seen, large) for seen in party.sightings[:4] if _may_share(seen, large)]
            if not links:
                continue
            own = max(links, key=lambda link: link.strength)
            total += own.strength
            if own.strength > best.strength:
                best = own
        return Link(total / len(small.parties), best.dimensions, large.incident_id)

    def link(self, seen: Sighting, group: Group) -> Link:
        """How strongly a sighting is drawn to an incident, by dimension."""
        found: dict[str, float] = {}
        weights = self.weights
        apart = max(seen.onset - group.last, group.first - seen.onset)
        if apart > weights.reach_seconds or (apart > FAR_SECONDS and not _acquainted(seen, group)):
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
        if "mention" not in found:
            strength *= 1.0 - weights.habit * self.habits.habit(seen)
        return Link(strength, found, group.incident_id)

    def _fade(self, apart: float, half: float) -> float:
        apart = max(abs(apart) - self.grid.step_seconds, 0.0)
        return float(0.5 ** (apart / half))

    def _same(self, seen: Sighting, group: Group) -> float:
        party = group.parties.get(seen.entity)
        if party is None:
            return 0.0
        weights = self.weights
        apart = _nearest(party.onsets, seen.onset)
        strength = weights.same * self._fade(apart, weights.half_same)
        if any(other.ended is None for other in party.sightings):
            strength = 1.0 - (1.0 - strength) * (
                1.0 - weights.active * self._fade(apart, weights.half_active)
            )
        return strength

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
            weight = weights.edge * weights.hops[hops] if entity not in self.topology.hubs else 0.1
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
        near = 0.0
        for _, entity in group.onsets[low : min(high, low + 12)]:
            near += 1.0 - weights.habit * min(
                (self.habits.habit(other) for other in group.parties[entity].sightings[:3]), default=0.0
            )
        each = weights.dense
        if seen.entity in self.topology.callees:
            each *= weights.strangers
        if self.grid.step_seconds:
            each *= 0.5
        return float(1.0 - (1.0 - each) ** min(near, 8.0))


def _may_share(seen: Sighting, group: Group) -> bool:
    if seen.episode.tenant != group.tenant:
        return False
    cluster = seen.subject.cluster
    return not cluster or not group.cluster or cluster == group.cluster


def _acquainted(seen: Sighting, group: Group) -> bool:
    """Whether an incident has the sighting's entity, or names it, or is named by it."""
    return (
        seen.entity in group.parties
        or seen.entity in group.mentioned
        or any(name in group.parties or name in group.mentioned for name in seen.subject.mentions)
    )


def _nearest(onsets: list[float], onset: float) -> float:
    at = bisect_left(onsets, onset)
    after = onsets[at] - onset if at < len(onsets) else 1e18
    return min(onset - onsets[at - 1], after) if at else after


def _common(one: Iterable[str], parties: dict[str, Party]) -> list[str]:
    return [name for name in one if name in parties]
