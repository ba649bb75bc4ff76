"""Which incident an episode belongs to: near in time, and bound by a label, a mention or a dense onset.

Pure and online: an episode is judged by what came before it. A group keeps
summaries, not scans, so that the thousandth alert of a storm costs what the
first did. Wider methods (topology, co-occurrence) come behind the same function.
"""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Iterable
from dataclasses import dataclass, field

from sidecar.records import Episode
from webhooks.identity import LabelStatistics, service_of

SECOND_NS = 1_000_000_000
ONSET_NS = 120 * SECOND_NS
"""Alerts that start within two minutes of each other attract each other without any known bond."""

BUCKET_NS = 5 * SECOND_NS
ENOUGH = 0.5
MAX_WORDS = 2000
"""So many different words of a service's alerts are remembered; beyond, they are instances, not names."""

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,}")


@dataclass(slots=True)
class Features:
    """What correlation reads of one episode, computed once."""

    episode: Episode
    onset_ns: int
    service: str
    words: frozenset[str]
    pairs: frozenset[tuple[str, str]]


@dataclass(slots=True)
class ServiceFacts:
    """What an incident's alerts say of one service, as the ranking of causes needs it."""

    service: str
    first_onset_ns: int
    fingerprint: str
    n_episodes: int = 0
    titles: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)


@dataclass
class Group:
    """What correlation knows of an incident."""

    incident_id: str
    tenant: str
    episodes: dict[tuple[str, str, int], Episode] = field(default_factory=dict)
    services: dict[str, ServiceFacts] = field(default_factory=dict)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    shared: dict[str, str] | None = None
    started_at_ns: int = 0
    ended_at_ns: int | None = None
    _buckets: list[int] = field(default_factory=list)

    def add(self, seen: Features) -> None:
        """Take an episode in, or its newer state."""
        episode = seen.episode
        known = episode.key in self.episodes
        self.episodes[episode.key] = episode
        if known:
            return
        self.pairs |= seen.pairs
        self.names.add(episode.labels.get("alertname", "?"))
        if self.shared is None:
            self.shared, self.started_at_ns = dict(episode.labels), episode.starts_at_ns
        else:
            self.shared = {k: v for k, v in self.shared.items() if episode.labels.get(k) == v}
            self.started_at_ns = min(self.started_at_ns, episode.starts_at_ns)
        facts = self.services.get(seen.service.lower())
        if facts is None:
            facts = ServiceFacts(seen.service, seen.onset_ns, episode.fingerprint)
            self.services[seen.service.lower()] = facts
        if seen.onset_ns < facts.first_onset_ns:
            facts.first_onset_ns, facts.fingerprint = seen.onset_ns, episode.fingerprint
        facts.n_episodes += 1
        if len(facts.words) < MAX_WORDS:
            facts.words |= seen.words
            facts.titles.add(
                f"{episode.labels.get('alertname', '')} {episode.annotations.get('summary', '')}"
            )
        bucket = seen.onset_ns // BUCKET_NS
        at = bisect_left(self._buckets, bucket)
        if at == len(self._buckets) or self._buckets[at] != bucket:
            insort(self._buckets, bucket)

    def apart_ns(self, onset_ns: int) -> int:
        """Time between an onset and the nearest one of the group, to the bucket."""
        bucket = onset_ns // BUCKET_NS
        at = bisect_left(self._buckets, bucket)
        near = self._buckets[max(at - 1, 0) : at + 1]
        return min((abs(bucket - other) * BUCKET_NS for other in near), default=1 << 62)


def features(episode: Episode, statistics: LabelStatistics) -> Features:
    """What correlation reads of an episode."""
    text = " ".join(episode.annotations.values())
    return Features(
        episode=episode,
        # A clock far off is not believed over our own.
        onset_ns=min(episode.starts_at_ns, episode.first_seen_ns),
        service=service_of(episode.labels),
        words=frozenset(word.lower() for word in _WORD.findall(text)),
        pairs=frozenset(statistics.telling(episode.labels)),
    )


def affinity(seen: Features, group: Group, *, gap_ns: int) -> float:
    """How strongly an episode is drawn to a group; up to `ENOUGH` it is not of it."""
    if seen.episode.tenant != group.tenant:
        return 0.0
    apart = group.apart_ns(seen.onset_ns)
    if apart > gap_ns:
        return 0.0
    if group.ended_at_ns is not None and seen.onset_ns - group.ended_at_ns > gap_ns:
        return 0.0
    service = seen.service.lower()
    strength = 1.5 if service in group.services else 0.0
    strength += 1.0 * len(seen.pairs & group.pairs)
    blames = any(name in seen.words for name in group.services)
    if blames or any(service in facts.words for facts in group.services.values()):
        strength += 1.5
    if apart <= ONSET_NS:
        strength += 1.0
    return strength * (1.0 - 0.5 * apart / gap_ns)


def choose(seen: Features, groups: Iterable[Group], *, gap_ns: int) -> Group | None:
    """The group that draws the episode most strongly, or None where it begins an incident of its own."""
    best: Group | None = None
    strongest = ENOUGH
    for group in groups:
        strength = affinity(seen, group, gap_ns=gap_ns)
        if strength > strongest:
            best, strongest = group, strength
    return best
