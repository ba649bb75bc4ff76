"""Deliveries into episodes: one episode from firing to resolved, whoever says it how often.

Pure: what is known, and what a delivery says, give what changes. The caller
makes the changes durable and only then lets memory have them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

import msgspec

from sidecar.records import AlertEvent, Delivery, Episode
from webhooks.own import is_own

QUIET_NS = 60_000_000_000
"""A repeat that says nothing new is written at most so often; what is lost is `last_seen`, never an alert."""

MAX_EPISODES = 150_000
"""So many alerts are held; beyond that those leave first that a storm brought, then the oldest."""

STORM_BONDS = {"all": 1.0, "storm": 1.0}

Key = tuple[str, str]


@dataclass
class Changes:
    """What a batch of deliveries changes. `written` must become durable; `touched` are mere repeats."""

    over: Changes | None = None
    """Changes that are being stored, and that memory does not have yet: these are made on top of them."""
    episodes: dict[Key, Episode] = field(default_factory=dict)
    closed: list[Episode] = field(default_factory=list)
    written: dict[Key, None] = field(default_factory=dict)
    """In the order of their first change: what came together lies together, in memory and in the store."""
    touched: dict[Key, tuple[int, int]] = field(default_factory=dict)
    """Of episodes that memory holds and that only were repeated: how often, and when the last time."""
    n_firing: int = 0
    n_resolved: int = 0
    n_stale: int = 0
    truncated_at_ns: dict[str, int] = field(default_factory=dict)
    inferred: dict[Key, int | None] = field(default_factory=dict)
    """Starts of episodes whose end was concluded from absence; None where a sender has spoken since."""

    def durable(self) -> list[Episode]:
        """Episodes that must be stored, an episode that another one displaced first."""
        return [*self.closed, *(self.episodes[key] for key in self.written)]

    def take_touches(self, key: Key, episode: Episode) -> None:
        """Let an episode that is about to change have its repeats first."""
        n, seen_ns = self.touched.pop(key, (0, 0))
        _touch(episode, n, seen_ns)


class Memory:
    """The newest episode of every fingerprint: open ones, and resolved ones for a while."""

    def __init__(self, episodes: Iterable[Episode] = ()) -> None:
        self.episodes: dict[Key, Episode] = {}
        self.n_open = 0
        self.n_evicted = 0
        self.birthplace: dict[str, str] = {}
        """By tenant, while there is a storm: the incident that new alerts are born into."""
        self._of_storms: deque[Key] = deque()
        self.inferred: dict[Key, int] = {}
        """Starts of episodes whose end was concluded from absence; a sender that tells of one is believed."""
        self.truncated_at_ns: dict[str, int] = {}
        """By tenant, when a delivery last left alerts out: until then, absence says nothing."""
        self.recall(episodes)

    def recall(self, episodes: Iterable[Episode]) -> None:
        """Take in what a store holds; the newest episode of a fingerprint counts."""
        for episode in sorted(episodes, key=lambda e: e.starts_at_ns):
            self.episodes[episode.tenant, episode.fingerprint] = episode
        self.n_open = sum(episode.state != "resolved" for episode in self.episodes.values())

    def fold(self, deliveries: Iterable[Delivery], into: Changes | None = None) -> Changes:
        """What these deliveries change; memory itself stays as it is until `apply`.

        `into`: what deliveries before them changed, and was not applied yet; these are added.
        """
        changes = Changes() if into is None else into
        for delivery in deliveries:
            if delivery.truncated_alerts:
                changes.truncated_at_ns[delivery.tenant] = delivery.received_at_ns
            for event in delivery.alerts:
                self._fold_one(event, delivery, changes)
        return changes

    def apply(self, changes: Changes) -> None:
        """Let memory have changes that are durable now.

        Episodes that the alerts loop holds stay the same objects, so that it sees the change.
        """
        for key, (n, seen_ns) in changes.touched.items():
            held = self.episodes.get(key)
            if held is not None:
                _touch(held, n, seen_ns)
        self.truncated_at_ns.update(changes.truncated_at_ns)
        for key, start in changes.inferred.items():
            if start is not None:
                self.inferred[key] = start
            else:
                self.inferred.pop(key, None)
        for closed in changes.closed:
            held = self.episodes.get((closed.tenant, closed.fingerprint))
            if held is not None and held.key == closed.key:
                self.n_open -= held.state != "resolved"
                _overwrite(held, closed)
        for key, episode in changes.episodes.items():
            held = self.episodes.get(key)
            self.n_open += (episode.state != "resolved") - (held is not None and held.state != "resolved")
            if held is not None and held.key == episode.key:
                _overwrite(held, episode)
            else:
                self.episodes[key] = episode
                if episode.bonds is STORM_BONDS:
                    self._of_storms.append(key)
        self._evict()

    def doubt(self, now_ns: int, *, after_ns: int, listening_since_ns: int) -> list[Episode]:
        """Firing episodes that were not repeated for so long: unknown from now on, not resolved.

        Absence counts only while we listened, and while nobody left alerts out.
        """
        doubtful = []
        for episode in self.episodes.values():
            truncated_ns = self.truncated_at_ns.get(episode.tenant, 0)
            heard_ns = max(episode.last_seen_ns, listening_since_ns, truncated_ns)
            if episode.state == "firing" and heard_ns < now_ns - after_ns:
                # Silence is no proof of an end. Reconciling with Alertmanager will tell.
                episode.state = "unknown"
                doubtful.append(episode)
        return doubtful

    def _evict(self) -> None:
        """Let go of what is too much; the store keeps it, and a repeat brings it back."""
        while len(self.episodes) > MAX_EPISODES:
            if self._of_storms:
                oldest = [self._of_storms.popleft()]
            else:
                # Some at once: to find the first of a dictionary takes longer the more were taken from there.
                oldest = list(islice(self.episodes, MAX_EPISODES // 100 + 1))
            for key in oldest:
                gone = self.episodes.pop(key, None)
                self.inferred.pop(key, None)
                if gone is not None and gone.state != "resolved":
                    self.n_open -= 1
                    self.n_evicted += 1

    def forget_resolved(self, before_ns: int, *, most: int | None = None) -> int:
        """Drop resolved episodes last seen before then, so many at most; how many."""
        every = (
            key
            for key, episode in self.episodes.items()
            if episode.state == "resolved" and episode.last_seen_ns < before_ns
        )
        old = list(islice(every, most))
        for key in old:
            del self.episodes[key]
            self.inferred.pop(key, None)
        if old and len(old) != most:
            # Once for all slices: of what is held no longer, each storm would leave its keys behind.
            self._of_storms = deque(key for key in self._of_storms if self._is_of_storm(key))
        return len(old)

    def _is_of_storm(self, key: Key) -> bool:
        held = self.episodes.get(key)
        return held is not None and held.bonds is STORM_BONDS

    def _fold_one(self, event: AlertEvent, delivery: Delivery, changes: Changes) -> None:
        if event.firing:
            changes.n_firing += 1
        else:
            changes.n_resolved += 1
        key = (delivery.tenant, event.fingerprint)
        current = changes.episodes.get(key)
        known = current
        if known is None and changes.over is not None:
            known = changes.over.episodes.get(key)
        if known is None:
            known = self.episodes.get(key)
            if known is not None and _is_mere_repeat(event, delivery, known):
                n, seen_ns = changes.touched.get(key, (0, 0))
                changes.touched[key] = (n + 1, max(seen_ns, delivery.received_at_ns))
                return
        if known is None:
            self._begin(event, delivery, changes)
            return
        if current is None:
            current = msgspec.structs.replace(known)
            if changes.over is not None and key in changes.over.touched:
                _touch(current, *changes.over.touched[key])
            changes.take_touches(key, current)
        if event.starts_at_ns > current.starts_at_ns:
            if current.state != "resolved":
                # It fired anew, so it had ended: that resolve never reached us.
                ended = msgspec.structs.replace(current, state="resolved", ends_at_ns=event.starts_at_ns)
                changes.closed.append(ended)
            elif key in changes.written:
                changes.closed.append(current)  # Resolved in this very batch, and not stored yet.
            self._begin(event, delivery, changes)
            return
        changes.episodes[key] = current
        if event.firing:
            self._fold_firing(event, delivery, current, changes)
        else:
            self._fold_end(event, delivery, current, changes)

    def _begin(self, event: AlertEvent, delivery: Delivery, changes: Changes) -> None:
        key = (delivery.tenant, event.fingerprint)
        changes.episodes[key] = _new_episode(event, delivery, self.birthplace.get(delivery.tenant))
        changes.written[key] = None

    def _fold_firing(self, event: AlertEvent, delivery: Delivery, current: Episode, changes: Changes) -> None:
        key = (current.tenant, current.fingerprint)
        seen_ns = delivery.received_at_ns
        if current.state == "resolved":
            undone = delivery.authority == "proven" or self._undoes(delivery, current, changes)
            if not undone or event.starts_at_ns != current.starts_at_ns:
                # Resolved wins over firing for the same start, and over any older start:
                # this is a late or repeated delivery.
                changes.n_stale += 1
                return
            current.ends_at_ns = None
            changes.inferred[key] = None
            changes.written[key] = None
        if seen_ns - current.last_seen_ns >= QUIET_NS or current.state == "unknown":
            changes.written[key] = None
        current.state = "firing"
        current.last_seen_ns = max(current.last_seen_ns, seen_ns)
        current.deliveries += 1
        if event.annotations != current.annotations:
            current.annotations = event.annotations
            changes.written[key] = None

    def _fold_end(self, event: AlertEvent, delivery: Delivery, current: Episode, changes: Changes) -> None:
        key = (current.tenant, current.fingerprint)
        seen_ns = delivery.received_at_ns
        ends_ns = _end_of(event, delivery)
        if event.starts_at_ns < current.starts_at_ns and ends_ns <= current.starts_at_ns:
            # The end of an earlier episode, told late: it is stored, and what is known stays.
            changes.n_stale += 1
            changes.closed.append(_new_episode(event, delivery, None))
            return
        current.deliveries += 1
        inferred = delivery.authority == "inferred"
        if current.state == "resolved" and not self._undoes(delivery, current, changes):
            return
        changes.inferred[key] = current.starts_at_ns if inferred else None
        current.state = "resolved"
        current.ends_at_ns = ends_ns
        current.last_seen_ns = max(current.last_seen_ns, seen_ns)
        changes.written[key] = None

    def _undoes(self, delivery: Delivery, current: Episode, changes: Changes) -> bool:
        """Whether a sender tells of an episode whose end was only concluded from absence."""
        key = (current.tenant, current.fingerprint)
        over = changes.over.inferred if changes.over is not None else {}
        told = next((one[key] for one in (changes.inferred, over) if key in one), self.inferred.get(key))
        return delivery.authority == "told" and told == current.starts_at_ns


def _is_mere_repeat(event: AlertEvent, delivery: Delivery, known: Episode) -> bool:
    """Whether a delivery says of an alert only what is known and was written a moment ago."""
    return (
        event.firing
        and known.state == "firing"
        and event.starts_at_ns <= known.starts_at_ns
        and delivery.received_at_ns - known.last_seen_ns < QUIET_NS
        and event.annotations == known.annotations
    )


def _touch(episode: Episode, n: int, seen_ns: int) -> None:
    episode.deliveries += n
    episode.last_seen_ns = max(episode.last_seen_ns, seen_ns)


def _new_episode(event: AlertEvent, delivery: Delivery, storm: str | None) -> Episode:
    if storm is not None and is_own(event.labels):
        storm = None
    return Episode(
        tenant=delivery.tenant,
        fingerprint=event.fingerprint,
        starts_at_ns=event.starts_at_ns,
        ends_at_ns=None if event.firing else _end_of(event, delivery),
        labels=event.labels,
        annotations=event.annotations,
        generator_url=event.generator_url,
        first_seen_ns=delivery.received_at_ns,
        last_seen_ns=delivery.received_at_ns,
        state="firing" if event.firing else "resolved",
        incident_id=storm,
        bonds=STORM_BONDS if storm else {},
    )


def _end_of(event: AlertEvent, delivery: Delivery) -> int:
    """When an alert ended: as told, or else when it was told; not before it began, whatever clocks said."""
    told_ns = event.ends_at_ns if event.ends_at_ns is not None else delivery.received_at_ns
    return max(told_ns, event.starts_at_ns)


def _overwrite(held: Episode, new: Episode) -> None:
    held.ends_at_ns = new.ends_at_ns
    held.annotations = new.annotations
    held.last_seen_ns = new.last_seen_ns
    held.deliveries = new.deliveries
    held.state = new.state
