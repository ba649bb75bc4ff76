"""Whether an incident turns out to be several: parts that end far apart, and that nothing but time binds.

Alerts of one fault begin together and end together. That they began together is
known at once and often chance; when they end is known late, and seldom is.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable

from webhooks.correlate.group import Group
from webhooks.correlate.topology import Topology

UNRELATED_SECONDS = 900.0
"""Ends so far apart part what only time binds."""

RELATED_SECONDS = 1800.0
"""And so far apart, what the graph or a shared rule binds: a queue drains long after its database is back."""

HOPS = 2
AT_ONCE_SECONDS = 60.0
MANY = 5
"""A rule that fires on so many entities at once tells of one fault, however late some of them recover."""

MAX_PARTIES = 60
"""An incident of more entities is one whatever its ends: comparing them all would cost too much."""

Related = Callable[[str, str], bool]


def parts(group: Group, topology: Topology, *, grid_seconds: float, now: float) -> list[set[str]]:
    """An incident's entities, apart where they are of several faults; one set where they are of one.

    `now`: seconds since the epoch; what fires has not ended before.
    """
    whole = set(group.parties)
    if not 2 <= len(whole) <= MAX_PARTIES:
        return [whole]
    ends = {entity: _end(group, entity, now) for entity in whole}
    if len(_apart([{entity} for entity in whole], ends, UNRELATED_SECONDS)) == 1:
        return [whole]
    relations = _Relations(group, topology, AT_ONCE_SECONDS + grid_seconds)
    found = [whole]
    for related, patience in ((relations.near, UNRELATED_SECONDS), (relations.bound, RELATED_SECONDS)):
        other = _apart(_pieces(group, related), ends, patience)
        if len(other) > len(found):
            found = other
    return found


def pieces(group: Group, topology: Topology, *, grid_seconds: float) -> list[set[str]]:
    """What of an incident can part no more, whenever its alerts end."""
    whole = set(group.parties)
    if len(whole) > MAX_PARTIES:
        return [whole]
    return _pieces(group, _Relations(group, topology, AT_ONCE_SECONDS + grid_seconds).bound)


def next_look(group: Group, now: float) -> float | None:
    """When time alone may part an incident that is partly over; None where it may not."""
    if group.ended() is not None:
        return None
    ends = [seen.ended for seen in group.members.values()]
    due = [end + wait for end in ends if end is not None for wait in (UNRELATED_SECONDS, RELATED_SECONDS)]
    return min((at for at in due if at > now), default=None)


def _end(group: Group, entity: str, now: float) -> float:
    """When an entity's last alert ended; one that fires, or only pauses, ends now at the earliest."""
    latest = 0.0
    for seen in group.parties[entity].sightings:
        ended = seen.ended
        if ended is None or seen.key[:2] in group.flapping:
            return now
        latest = max(latest, ended)
    return latest


def _apart(pieces: Iterable[set[str]], ends: dict[str, float], patience: float) -> list[set[str]]:
    """Pieces that end within `patience` of each other, put together."""
    spans = sorted(
        ((min(map(ends.__getitem__, piece)), max(map(ends.__getitem__, piece)), piece) for piece in pieces),
        key=lambda span: span[:2],
    )
    found: list[set[str]] = []
    latest = float("-inf")
    for first, last, piece in spans:
        if found and first - latest <= patience:
            found[-1] |= piece
        else:
            found.append(set(piece))
        latest = max(latest, last)
    return found


def _pieces(group: Group, related: Related) -> list[set[str]]:
    """Entities that are related, directly or through others, or were found to be of one fault."""
    found: list[set[str]] = []
    for entity in group.parties:
        own = {entity}
        apart = []
        for piece in found:
            together = any(entity in bound and not piece.isdisjoint(bound) for bound in group.bound)
            if together or any(related(entity, other) for other in piece):
                own |= piece
            else:
                apart.append(piece)
        found = [*apart, own]
    return found


class _Relations:
    """What an incident's entities have to do with each other, beside their time."""

    def __init__(self, group: Group, topology: Topology, at_once_seconds: float) -> None:
        self._topology = topology
        self._at_once = at_once_seconds
        self._onsets = {
            entity: {name: seen.onset for name, seen in party.names.items()}
            for entity, party in group.parties.items()
        }
        self._mentions: dict[str, set[str]] = {}
        self._places: dict[str, set[str]] = {}
        self._serves_all: set[str] = set()
        for entity, party in group.parties.items():
            subjects = [seen.subject for seen in party.sightings]
            self._mentions[entity] = {name for subject in subjects for name in subject.mentions}
            self._places[entity] = {
                name for subject in subjects for name in (subject.node, *subject.others) if name
            } | set(topology.hosts.get(entity, ()))
            if any(seen.wording.serves_all or seen.wording.monitoring for seen in party.sightings):
                self._serves_all.add(entity)
        self._crowds = self._find_crowds()

    def _find_crowds(self) -> list[set[str]]:
        """Entities on which one rule began to fire at once."""
        by_rule: dict[str, list[tuple[float, str]]] = {}
        for entity, onsets in self._onsets.items():
            for name, onset in onsets.items():
                insort(by_rule.setdefault(name, []), (onset, entity))
        crowds = []
        for starts in by_rule.values():
            crowd: list[tuple[float, str]] = []
            for start in [*starts, (float("inf"), "")]:
                if crowd and start[0] - crowd[-1][0] > self._at_once:
                    if len(crowd) >= MANY:
                        crowds.append({entity for _, entity in crowd})
                    crowd = []
                crowd.append(start)
        return crowds

    def bound(self, one: str, other: str) -> bool:
        """Whether they belong together whenever they end: one names, hosts or serves the other."""
        if one in self._serves_all or other in self._serves_all:
            return True
        if other in self._mentions[one] or one in self._mentions[other]:
            return True
        if not self._mentions[one].isdisjoint(self._mentions[other]):
            return True
        if other in self._places[one] or one in self._places[other]:
            return True
        return any(one in crowd and other in crowd for crowd in self._crowds)

    def near(self, one: str, other: str) -> bool:
        """Whether they may well belong together: the graph has them near, or one rule fired on both."""
        return self.bound(one, other) or self._call(one, other) or self._share_a_rule(one, other)

    def _call(self, one: str, other: str) -> bool:
        graph = self._topology
        if one in graph.hubs or other in graph.hubs:
            return False
        return (
            min(
                graph.callees.get(one, {}).get(other, HOPS + 1),
                graph.callers.get(one, {}).get(other, HOPS + 1),
            )
            <= HOPS
        )

    def _share_a_rule(self, one: str, other: str) -> bool:
        ours, theirs = self._onsets[one], self._onsets[other]
        return any(
            name in theirs and abs(onset - theirs[name]) <= self._at_once for name, onset in ours.items()
        )
