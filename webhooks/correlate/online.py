"""Which incident an episode belongs to: online, by onsets of entities, with merge and split, no look-ahead.

Every episode begins in an incident of its own, or joins at once the one that
already has its entity. A few minutes later, when those that belong together
have had the time to arrive, the incident is merged into the one that draws it
most strongly. Where its alerts end tells later whether it was one incident.
"""

from __future__ import annotations

import heapq
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Set
from itertools import islice

from sidecar.records import Episode
from webhooks.correlate.bonds import Bonds, may_share, nearest
from webhooks.correlate.group import Group, Link, Merge, Split
from webhooks.correlate.meaning import Encode
from webhooks.correlate.parting import next_look, parts, pieces
from webhooks.correlate.sighting import Key, Sighting
from webhooks.correlate.topology import Topology
from webhooks.correlate.weights import Weights
from webhooks.judge.evidence import Evidence

CLOCK_BACK_SECONDS = 30.0
"""What is less delays a merge by less than that."""


class Correlator:
    """Groups sightings into incidents. `add` them as they arrive; `advance` lets time pass."""

    def __init__(
        self,
        topology: Topology | None = None,
        *,
        weights: Weights | None = None,
        evidence: Evidence | None = None,
        encode: Encode | None = None,
        new_id: Callable[[], str] = lambda: f"inc-{uuid.uuid4().hex[:12]}",
    ) -> None:
        self.weights = weights or Weights()
        self.bonds = Bonds(Topology() if topology is None else topology, self.weights, evidence, encode)
        self.groups: dict[str, Group] = {}
        self.home: dict[Key, str] = {}
        self._new_id = new_id
        self.stays: Callable[[str, str], str | None] = lambda _, __: None
        """Which of two incidents people would have stay; None where the larger may."""
        self._fresh: list[str] = []
        self._newest: dict[tuple[str, str], Key] = {}
        self._due: list[tuple[float, float, str]] = []
        self._to_learn: deque[tuple[float, Sighting]] = deque()
        self._ended: dict[str, None] = {}
        self._looks: list[tuple[float, str]] = []
        self._advanced_at = 0.0

    @property
    def n_comparisons(self) -> int:
        """Pairs of incidents that the next `advance` compares because one of the two is new."""
        return len(self._fresh) * min(len(self.groups), self.weights.near_groups)

    def add(self, seen: Sighting, *, now: float, again: bool = False) -> Group:
        """The incident that a new sighting is put into for now. A known one stays where it is.

        `again`: the alert flaps, and belongs where it was the last time.
        """
        home = self.home.get(seen.key)
        if home is not None and home in self.groups:
            return self.groups[home]
        self.bonds.meet(seen)
        self._to_learn.append((now + self.weights.company_seconds, seen))
        best = self._where_it_was(seen) if again else None
        best = best or self._best_with_entity(seen)
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
            best.add(seen, self.bonds.link(seen, best))
        self.home[seen.key] = best.incident_id
        self._newest[seen.key[:2]] = seen.key
        if seen.key not in best.firing:
            self._ended[best.incident_id] = None
        self._touch(best)
        return best

    def advance(self, now: float) -> list[Merge | Split]:
        """Let time pass: settle what is due; the merges and splits made, in order."""
        self._heed_clock(now)
        merged = [*self._merge_at_once(), *self._merge_due(now)]
        while self._to_learn and self._to_learn[0][0] <= now:
            seen = self._to_learn.popleft()[1]
            home = self.groups.get(self.home.get(seen.key, ""))
            if home is not None:
                self.bonds.habits.learn(seen, self.bonds.company(seen, home))
        return [*merged, *self._part(now)]

    def settle(self) -> list[Merge]:
        """Merge what waits, each at its time, where nothing more is to come; nothing is split."""
        merged = self._merge_at_once()
        while self._due:
            merged += self._merge_due(self._due[0][0])
        return merged

    def _merge_due(self, now: float) -> list[Merge]:
        """Merge the new incidents that have waited long enough, or let them wait on while they are young."""
        merged: list[Merge] = []
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
        return merged

    def _heed_clock(self, now: float) -> None:
        """Where the clock was set back, bring forward what waits: so long is so long by any clock."""
        back, self._advanced_at = self._advanced_at - now, now
        if back <= CLOCK_BACK_SECONDS:
            return
        self._due = [(deadline - back, first, one) for deadline, first, one in self._due]
        self._looks = [(at - back, one) for at, one in self._looks]
        self._to_learn = deque((at - back, seen) for at, seen in self._to_learn)
        for group in self.groups.values():
            group.deadline -= back if group.deadline else 0.0

    def refresh(self, episode: Episode) -> Group | None:
        """Take in that a known episode changed; its incident."""
        group = self.groups.get(self.home.get(episode.key, ""))
        if group is not None:
            seen = group.members[episode.key]
            seen.episode = episode  # One that left memory and came back is another object.
            group.refresh(seen)
            if seen.key not in group.firing:
                self._ended[group.incident_id] = None
        return group

    def next_due(self) -> float | None:
        """When `advance` next has something to settle; None while nothing waits."""
        return min((heap[0][0] for heap in (self._due, self._looks) if heap), default=None)

    def recall(self, incident_id: str, sightings: Iterable[Sighting], *, now: float) -> None:
        """Take in an incident of before a restart; where it is young, it may still merge."""
        ordered = sorted(sightings, key=lambda seen: (seen.heard, seen.key))
        if not ordered:
            return
        head = ordered[0]
        group = Group(incident_id, head.episode.tenant, head.subject.cluster, 0.0, first=head.onset)
        for seen in ordered:
            self.bonds.meet(seen)
            self._to_learn.append((seen.heard + self.weights.company_seconds, seen))
            group.add(seen)
            self.home[seen.key] = incident_id
            self._newest[seen.key[:2]] = seen.key
        self.groups[incident_id] = group
        self._ended[incident_id] = None
        group.tries = self.weights.tries
        if now - head.heard < self.weights.settling_seconds:
            group.tries, group.deadline = 0, now + self.weights.hold_seconds
            heapq.heappush(self._due, (group.deadline, group.first, incident_id))

    def rejoin(self, incident_id: str, seen: Sighting, *, now: float) -> None:
        """Take in an alert that was let go of, and whose incident is known from before."""
        group = self.groups.get(incident_id)
        if group is None:
            self.recall(incident_id, [seen], now=now)
            return
        group.add(seen)
        self.home[seen.key] = incident_id
        self._newest[seen.key[:2]] = seen.key

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

    def merge(self, one: Group, other: Group, link: Link | None = None) -> Merge:
        """Let the smaller of two incidents go into the larger, unless people would have that one stay."""
        into, source = (other, one) if len(other.members) >= len(one.members) else (one, other)
        if self.stays(one.incident_id, other.incident_id) == source.incident_id:
            into, source = source, into
        for key, seen in source.members.items():
            into.add(seen, source.links.get(key) or link)
            self.home[key] = into.incident_id
        into.flapping |= source.flapping
        into.bound += source.bound
        into.parted |= source.parted
        into.n_retired += source.n_retired
        into.origin = into.origin or source.origin
        del self.groups[source.incident_id]
        self._touch(into)
        return Merge(source.incident_id, into.incident_id, tuple(source.members))

    def split(self, group: Group, keys: Set[Key], reason: str) -> Split:
        """Take these episodes, some of an incident's and not all, into an incident of their own."""
        moved = [seen for seen in group.members.values() if seen.key in keys]
        kept = [seen for seen in group.members.values() if seen.key not in keys]
        rest = group.part(group.incident_id, kept)
        new = group.part(self._new_id(), moved)
        new.split = Split(group.incident_id, new.incident_id, tuple(seen.key for seen in moved), reason)
        rest.split = group.split
        rest.parted.add(new.incident_id)
        for one in (rest, new):
            # What was found to be apart is not put together again by itself.
            one.tries = self.weights.tries
            self.groups[one.incident_id] = one
            self.home.update((key, one.incident_id) for key in one.members)
        return new.split

    def lasting(self, group: Group) -> list[Group]:
        """Parts of an incident that stay together whatever is yet to come; itself where all of it does."""
        if group.bound and not group.firing:
            return [group]
        grid = self.bonds.grid.step_seconds
        _, *others = lasting = _by_size(group, pieces(group, self.bonds.topology, grid_seconds=grid))
        if not others:
            return [group]
        ids = [group.incident_id, *(self._new_id() for _ in others)]
        return [
            group.part(one, [group.members[key] for key in keys])
            for one, keys in zip(ids, lasting, strict=True)
        ]

    def _part(self, now: float) -> list[Split]:
        """Split what has turned out to be several incidents."""
        ended, self._ended = self._ended, {}
        while self._looks and self._looks[0][0] <= now:
            ended[heapq.heappop(self._looks)[1]] = None
        made: list[Split] = []
        for group in (self.groups[one] for one in ended if one in self.groups):
            found = parts(group, self.bonds.topology, grid_seconds=self.bonds.grid.step_seconds, now=now)
            others = _by_size(group, found)[1:] if len(found) > 1 else []
            splits = [
                self.split(self.groups[group.incident_id], keys, _reason(group, keys, now)) for keys in others
            ]
            for incident_id in (group.incident_id, *(split.new for split in splits)):
                self._look_again(self.groups[incident_id], now)
            made += splits
        return made

    def _look_again(self, group: Group, now: float) -> None:
        """What ended together is one for good; what is partly over is looked at again."""
        if group.ended() is not None:
            group.bound = [frozenset(group.parties)]
        elif (due := next_look(group, now)) is not None:
            heapq.heappush(self._looks, (due, group.incident_id))

    def forget(self, incident_id: str) -> None:
        """Drop an incident that is long over."""
        group = self.groups.pop(incident_id, None)
        for key in group.members if group else ():
            self._leave(key)

    def retire(self, group: Group, before: float) -> None:
        """Let go of what ended before then, in seconds, of an incident that goes on."""
        for key in group.retire(before):
            self._leave(key)
        group.parted &= self.groups.keys()

    def _leave(self, key: Key) -> None:
        self.home.pop(key, None)
        if self._newest.get(key[:2]) == key:
            del self._newest[key[:2]]

    def _touch(self, group: Group) -> None:
        """Keep `groups` in the order of last activity, so that the near ones are found at its end."""
        self.groups[group.incident_id] = self.groups.pop(group.incident_id)

    def _near(self) -> Iterator[Group]:
        """The incidents of latest activity: beyond so many, a new alert is compared with no more."""
        return islice(reversed(self.groups.values()), self.weights.near_groups)

    def _where_it_was(self, seen: Sighting) -> Group | None:
        """The incident of the alert's episode before this one."""
        key = self._newest.get(seen.key[:2])
        return self.groups.get(self.home.get(key, "")) if key is not None else None

    def _best_with_entity(self, seen: Sighting) -> Group | None:
        best, closest = None, self.weights.sure_seconds
        for group in self._near():
            if seen.entity not in group.parties or not may_share(seen, group):
                continue
            apart = nearest(group.parties[seen.entity].onsets, seen.onset)
            if apart <= closest:
                best, closest = group, apart
        return best

    def _best(self, source: Group, enough: float | None = None) -> tuple[Group | None, Link | None]:
        best: Group | None = None
        strongest: Link | None = None
        if enough is None:
            enough = self.weights.enough if len(source.parties) == 1 else self.weights.enough_again
        earliest = source.first - self.weights.reach_seconds
        far = self.bonds.far_seconds(enough)
        for group in self._near():
            # The cheapest question first: most incidents that are remembered are of another time.
            if group.last < earliest or group is source:
                continue
            if group.tenant != source.tenant or group.apart != source.apart:
                continue
            if group.incident_id in source.parted or source.incident_id in group.parted:
                continue
            apart = max(group.first - source.last, source.first - group.last)
            if apart > far and self.bonds.strangers(group, source):
                continue
            needed = strongest.strength if strongest else enough
            small, large = (source, group) if len(source.parties) <= len(group.parties) else (group, source)
            link = self._between(small, large, needed)
            if link is not None:
                best, strongest = group, link
        return best, strongest

    def _between(self, small: Group, large: Group, enough: float) -> Link | None:
        """How strongly one incident's entities are drawn to another, on average; None where not enough."""
        n_left, n_needed = len(small.parties), enough * len(small.parties)
        total, best = 0.0, Link(0.0, {}, large.incident_id)
        for party in small.parties.values():
            if total + n_left <= n_needed:
                return None  # However strongly the others are drawn; most pairs are strangers.
            n_left -= 1
            links = [self.bonds.link(seen, large) for seen in party.sightings[:4] if may_share(seen, large)]
            if not links:
                continue
            own = max(links, key=lambda link: link.strength)
            total += own.strength
            if own.strength > best.strength:
                best = own
        strength = total / len(small.parties)
        return Link(strength, best.dimensions, large.incident_id) if strength > enough else None


def _by_size(group: Group, parts: Iterable[Set[str]]) -> list[set[Key]]:
    """The episodes of each part of an incident, the largest first, of equals the earlier."""
    of_parts = [[seen for entity in part for seen in group.parties[entity].sightings] for part in parts]
    of_parts.sort(key=lambda part: (-len(part), min((seen.onset, seen.key) for seen in part)))
    return [{seen.key for seen in part} for part in of_parts]


def _reason(group: Group, keys: Set[Key], now: float) -> str:
    """Why some of an incident's episodes are another one, for people."""

    def over(those: Iterable[Sighting]) -> float | None:
        ends = [seen.ended for seen in those]
        return None if None in ends else max(end for end in ends if end is not None)

    own = over(seen for key, seen in group.members.items() if key in keys)
    rest = over(seen for key, seen in group.members.items() if key not in keys)
    apart = abs((now if own is None else own) - (now if rest is None else rest)) / 60.0
    how = "fired on" if own is None else "ended" if rest is not None else "were over"
    when = (
        "after the others ended" if own is None or (rest is not None and own > rest) else "before the others"
    )
    return f"its alerts {how} {apart:.0f} min {when}, and little but the time of their beginning binds them"
