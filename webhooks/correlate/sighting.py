"""What correlation reads of one episode, computed once."""

from __future__ import annotations

import msgspec

from sidecar.records import Episode
from webhooks.correlate.entity import EntityReader, Subject
from webhooks.correlate.wording import Wording, read
from webhooks.own import is_own

Key = tuple[str, str, int]


class Sighting(msgspec.Struct):
    """One episode as correlation sees it. Times are seconds since the epoch."""

    episode: Episode
    key: Key
    name: str
    severity: str
    onset: float
    heard: float
    subject: Subject
    wording: Wording
    apart: str = ""
    """What keeps to itself: only sightings of the same word share its incident."""
    entity: str = ""
    """What the alert is about."""
    habit: tuple[str, str, str] = ("", "", "")
    """What it has in common with its kind: tenant, entity, rule."""
    has_taught: bool = False
    """Whether its end has taught the noise model, which each does once."""

    def __post_init__(self) -> None:
        # Read so often in a comparison of incidents that a property would cost a tenth of it.
        self.entity = self.subject.entity
        self.habit = (self.episode.tenant, self.entity, self.name)

    @property
    def began_ns(self) -> int:
        """When it began; a clock that is ahead of ours is not believed."""
        return min(self.episode.starts_at_ns, self.episode.first_seen_ns)

    @property
    def ended(self) -> float | None:
        """When it resolved; None while it fires, or where nobody knows."""
        episode = self.episode
        if episode.state != "resolved":
            return None
        return (episode.ends_at_ns or episode.last_seen_ns) / 1e9

    def lasted(self, now: float) -> float:
        """Seconds from its start to its end, or until now."""
        ended = self.ended
        return (now if ended is None else ended) - self.episode.starts_at_ns / 1e9


def sight(episode: Episode, reader: EntityReader) -> Sighting:
    """What correlation reads of an episode."""
    labels = episode.labels
    name = labels.get("alertname", "unknown")
    # A clock far off is not believed over our own.
    onset_ns = min(episode.starts_at_ns, episode.first_seen_ns)
    wording = read(name, episode.annotations)
    subject = reader.read(labels, episode.annotations)
    if wording.promise:
        reader.promise(subject.entity)
    # What fires for ever begins with all others when Prometheus does, and is of no incident for that.
    alone = is_own(labels) or wording.heartbeat
    return Sighting(
        episode=episode,
        key=episode.key,
        name=name,
        severity=(labels.get("severity") or labels.get("priority") or labels.get("level") or "").lower(),
        onset=onset_ns / 1e9 - wording.held_seconds,
        heard=episode.first_seen_ns / 1e9,
        subject=subject,
        wording=wording,
        apart=episode.fingerprint if alone else "",
    )
