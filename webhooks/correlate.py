"""Which incident an episode belongs to: near in time, and bound by a label, a mention or a dense onset.

Pure and online: an episode is judged by what came before it. Wider methods
(topology, co-occurrence) come behind the same function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from sidecar.records import Episode
from webhooks.identity import LabelStatistics, service_of

ONSET_NS = 120 * 1_000_000_000
"""Alerts that start within two minutes of each other attract each other without any known bond."""

ENOUGH = 1.0
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{2,}")


@dataclass
class Group:
    """What correlation knows of an incident: its episodes, newest activity and what they name."""

    incident_id: str
    tenant: str
    episodes: dict[tuple[str, str, int], Episode] = field(default_factory=dict)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    services: set[str] = field(default_factory=set)
    mentions: set[str] = field(default_factory=set)
    last_onset_ns: int = 0
    ended_at_ns: int | None = None

    def add(self, episode: Episode, statistics: LabelStatistics) -> None:
        """Take an episode in, or its newer state."""
        self.episodes[episode.key] = episode
        self.pairs |= statistics.telling(episode.labels)
        self.services.add(service_of(episode.labels).lower())
        self.mentions |= mentioned(episode)
        self.last_onset_ns = max(self.last_onset_ns, onset(episode))


def onset(episode: Episode) -> int:
    """When it began, as far as can be told: a clock far off is not believed over our own."""
    return min(episode.starts_at_ns, episode.first_seen_ns)


def mentioned(episode: Episode) -> set[str]:
    """Words of the annotations, lower case: names of other services stand among them."""
    text = " ".join(episode.annotations.values())
    return {word.lower() for word in _WORD.findall(text)}


def affinity(episode: Episode, group: Group, statistics: LabelStatistics, *, gap_ns: int) -> float:
    """How strongly an episode is drawn to a group; below `ENOUGH` it is not of it."""
    if episode.tenant != group.tenant:
        return 0.0
    began = onset(episode)
    apart = min((abs(began - onset(other)) for other in group.episodes.values()), default=gap_ns + 1)
    if group.ended_at_ns is not None and began - group.ended_at_ns > gap_ns:
        return 0.0
    if apart > gap_ns:
        return 0.0
    service = service_of(episode.labels).lower()
    strength = 1.5 if service in group.services else 0.0
    strength += 1.0 * len(statistics.telling(episode.labels) & group.pairs)
    if service in group.mentions or group.services & mentioned(episode):
        strength += 1.5
    if apart <= ONSET_NS:
        strength += 1.0
    return strength * (1.0 - 0.5 * apart / gap_ns)


def choose(
    episode: Episode, groups: Iterable[Group], statistics: LabelStatistics, *, gap_ns: int
) -> Group | None:
    """The group that draws the episode most strongly, or None where it begins an incident of its own."""
    best: Group | None = None
    strongest = ENOUGH * 0.5
    for group in groups:
        strength = affinity(episode, group, statistics, gap_ns=gap_ns)
        if strength > strongest:
            best, strongest = group, strength
    return best
