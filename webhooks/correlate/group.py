"""An incident as correlation knows it: its members, by entity, with what finding a bond needs at hand.

It keeps summaries beside the members, so that nothing scans a storm's incident.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from itertools import islice

import msgspec

from webhooks.correlate.sighting import Key, Sighting

FIRST_MOVERS = 150
"""So many members stay whatever their ends: what an incident began with tells what it is about."""

MAX_ORIGINS = 3
"""So often parted, an incident forgets what it was part of at first: each origin holds all of its members."""


class Link(msgspec.Struct, frozen=True):
    """Why an episode is drawn to an incident: strength 0..1 by dimension, and all together."""

    strength: float
    dimensions: dict[str, float]
    to: str


class Merge(msgspec.Struct, frozen=True):
    """An incident that went into another, with the episodes that moved."""

    gone: str
    into: str
    moved: tuple[Key, ...]


class Split(msgspec.Struct, frozen=True):
    """A part of an incident that turned out to be another one, with the episodes that moved, and why."""

    out_of: str
    new: str
    moved: tuple[Key, ...]
    reason: str


class Party(msgspec.Struct):
    """One entity's part in an incident."""

    first: float
    onsets: list[float] = []
    sightings: list[Sighting] = []
    names: dict[str, Sighting] = {}


class Group(msgspec.Struct):
    """An incident as correlation knows it."""

    incident_id: str
    tenant: str
    cluster: str
    deadline: float
    members: dict[Key, Sighting] = {}
    links: dict[Key, Link] = {}
    parties: dict[str, Party] = {}
    onsets: list[tuple[float, str]] = []
    names: dict[str, float] = {}
    namespaces: dict[str, float] = {}
    mentioned: dict[str, float] = {}
    nodes: dict[str, float] = {}
    firing: set[Key] = set()
    last_end: float = 0.0
    shared: dict[str, str] | None = None
    starts_at_ns: int = 0
    n_retired: int = 0
    """Members of it that are not held any more; the store has them."""
    tries: int = 0
    first: float = 0.0
    last: float = 0.0
    apart: str = ""
    flapping: set[tuple[str, str]] = set()
    """Tenant and fingerprint of members that flap: it is not over in their pauses."""
    bound: list[frozenset[str]] = []
    """Entities that ended together, and so never part."""
    parted: set[str] = set()
    """Incidents that it was one with until they turned out to be others: they never merge again."""
    split: Split | None = None
    """How it came out of another one."""
    origin: Group | None = None
    """What that was before: who began with an alert is its company, whatever came of it."""

    def add(self, seen: Sighting, link: Link | None = None) -> None:
        """Take a sighting in."""
        if seen.key in self.members:
            return
        if link is not None:
            self.links[seen.key] = link
        onset = seen.onset
        self.first = min(self.first, onset) if self.members else onset
        self.last = max(self.last, onset) if self.members else onset
        labels = seen.episode.labels
        if self.shared is None:
            self.shared, self.starts_at_ns = dict(labels), seen.began_ns
        elif self.shared:
            self.shared = {name: value for name, value in self.shared.items() if labels.get(name) == value}
        self.starts_at_ns = min(self.starts_at_ns, seen.began_ns)
        self.members[seen.key] = seen
        self.refresh(seen)
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
        party.names.setdefault(seen.name, seen)
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
        self.apart = seen.apart

    def refresh(self, seen: Sighting) -> None:
        """Look again at whether a member fires; a storm's incident is never scanned for it."""
        ended = seen.ended
        if ended is None:
            self.firing.add(seen.key)
        else:
            self.firing.discard(seen.key)
            self.last_end = max(self.last_end, ended)

    def part(self, incident_id: str, members: Iterable[Sighting]) -> Group:
        """A part of this incident as one of its own, which remembers what it was part of."""
        part = Group(incident_id, self.tenant, self.cluster, 0.0, apart=self.apart, origin=self)
        part.n_retired = self.n_retired if incident_id == self.incident_id else 0
        part._forget_origins()
        ordered = sorted(members, key=lambda seen: (seen.onset, seen.key))
        founded = any(seen.key not in self.links for seen in ordered)
        for at, seen in enumerate(ordered):
            # One has drawn the others: where the one that began it all is gone, the first that is left.
            part.add(seen, self.links.get(seen.key) if at or founded else None)
        part.flapping = self.flapping & {key[:2] for key in part.members}
        part.bound = [left for bound in self.bound if (left := bound & part.parties.keys())]
        part.parted = {*self.parted, self.incident_id} - {incident_id}
        return part

    def retire(self, before: float) -> list[Key]:
        """Let go of members that ended before then, but for the first movers; their keys.

        An incident may last for weeks because one alert never ends, while others come and go in it.
        """
        gone = [
            key
            for key, seen in islice(self.members.items(), FIRST_MOVERS, None)
            if key not in self.firing and key[:2] not in self.flapping and (seen.ended or before) < before
        ]
        for key in gone:
            self.links.pop(key, None)
            self._leave(self.members.pop(key))
        self.n_retired += len(gone)
        return gone

    def _leave(self, seen: Sighting) -> None:
        """Take a member out of its entity's part, and that out where it was the last of it."""
        party = self.parties[seen.entity]
        party.sightings.remove(seen)
        party.onsets.remove(seen.onset)
        if party.names[seen.name] is seen:
            del party.names[seen.name]
            others = (one for one in party.sightings if one.name == seen.name)
            if (other := next(others, None)) is not None:
                party.names[seen.name] = other
        if not party.sightings:
            self.onsets.remove((party.first, seen.entity))
            del self.parties[seen.entity]

    def _forget_origins(self) -> None:
        """Cut the chain of what it was part of."""
        last = self
        for _ in range(MAX_ORIGINS):
            if last.origin is None:
                return
            last = last.origin
        last.origin = None

    @property
    def n_alerts(self) -> int:
        """How many it ever had."""
        return len(self.members) + self.n_retired

    def ended(self) -> float | None:
        """When its last alert resolved; None while one fires, or only pauses."""
        return None if self.firing or self.flapping else self.last_end


def _latest(of: dict[str, float], name: str, onset: float) -> None:
    if of.get(name, -1e18) < onset:
        of[name] = onset
