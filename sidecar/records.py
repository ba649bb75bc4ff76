"""What is stored: alerts, episodes, incidents and rule revisions.

msgspec structs, because they decode and encode at the speed of the intake
(see tests/benchmarks) and are JSON for the API without further code.
Times are integer nanoseconds since the epoch (UTC), the resolution of
Alertmanager's RFC 3339 timestamps; `None` is "not yet".
"""

from __future__ import annotations

from sys import intern

import msgspec

DEFAULT_TENANT = "default"


# gc=False: these hold no cycles, and a storm of them must not make the collector walk them all.
class AlertEvent(msgspec.Struct, frozen=True, gc=False):
    """One alert in one delivery, as sent; `fingerprint` is computed where the sender gave none."""

    fingerprint: str
    firing: bool
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at_ns: int
    ends_at_ns: int | None
    generator_url: str


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A part of a delivery that could not be used, kept with its reason."""

    reason: str
    raw: bytes


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One webhook request: what it held and where it came from."""

    tenant: str
    receiver: str
    group_key: str
    external_url: str
    received_at_ns: int
    body_hash: bytes
    truncated_alerts: int
    alerts: list[AlertEvent]
    dead_letters: list[DeadLetter]
    authority: str = "told"  # told | inferred | proven
    """A sender's word; a conclusion from absence, which a sender's word undoes; or what Prometheus shows."""


class Episode(msgspec.Struct, gc=False):
    """One fingerprint from firing to resolved; repeats and HA duplicates fold into it."""

    tenant: str
    fingerprint: str
    starts_at_ns: int
    ends_at_ns: int | None
    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str
    first_seen_ns: int
    last_seen_ns: int
    deliveries: int = 1
    state: str = "firing"  # firing | resolved | unknown (not repeated, not proven resolved)
    incident_id: str | None = None
    bonds: dict[str, float] = {}
    """Why it is in its incident: strength 0..1 by dimension, `all` together; empty for the first of one."""

    @property
    def key(self) -> tuple[str, str, int]:
        """Tenant, fingerprint and start: what makes two sightings one episode."""
        return (self.tenant, self.fingerprint, self.starts_at_ns)


def shared(texts: dict[str, str]) -> dict[str, str]:
    """The same texts, each held once however many alerts have it: most labels of most alerts are alike."""
    return {name: intern(text) for name, text in texts.items()}


def share_texts(episode: Episode) -> None:
    """Let an episode's texts be those that others have."""
    episode.labels, episode.annotations = shared(episode.labels), shared(episode.annotations)
    episode.generator_url = intern(episode.generator_url)


class Cause(msgspec.Struct, frozen=True):
    """One candidate for an incident's root cause, with the reasons in words."""

    fingerprint: str | None
    service: str
    score: float
    reasons: list[str]


class Incident(msgspec.Struct):
    """Episodes believed to share a cause."""

    incident_id: str
    tenant: str
    title: str
    started_at_ns: int
    last_change_ns: int
    ended_at_ns: int | None = None
    state: str = "open"  # open | resolved | merged (its episodes went into another)
    shared_labels: dict[str, str] = {}
    causes: list[Cause] = []
    n_episodes: int = 0
    n_firing: int = 0
    priority: str = "P3"  # P0 (most urgent) to P3, P4 for noise
    priority_reasons: list[str] = []
    category: str = ""
    noise: float = 0.0
    """Probability that the whole incident is a false positive, 0..1."""
    noise_reasons: list[str] = []
    merged_into: str | None = None
    split_from: str | None = None
    split_reason: str = ""
    storm: dict[str, object] = {}
    """Of a storm: its first movers, representatives, and counts by label; empty for others."""


class OutboxMessage(msgspec.Struct):
    """One message of one incident to one target, from its making to its delivery."""

    key: str
    target: str
    incident_id: str
    number: int
    kind: str  # opened | updated | acknowledged | mitigated | resolved | merged
    priority: str
    n_episodes: int
    created_at_ns: int
    due_at_ns: int
    document: dict[str, object]
    state: str = "pending"  # pending | sent | dead | superseded (a later one told more)
    attempts: int = 0
    error: str = ""
    receipt: dict[str, str] = {}
    """What later messages of the incident need to refer to this one."""
    fallback: str = ""
    """The target that was told in its place."""
    in_doubt: bool = False
    """A try has begun of which nobody can find out whether it arrived."""


class EpisodeStart(msgspec.Struct, frozen=True, gc=False):
    """Of an episode, what is needed of very many: when it began, of what (JSON), in which incident."""

    starts_at_ns: int
    labels: str
    incident_id: str | None


class Signal(msgspec.Struct, frozen=True, gc=False):
    """Something that may herald an incident of a service, kept for as long as incidents are."""

    at_ns: int
    kind: str  # anomaly | change | ahead (a threshold was expected to be crossed)
    service: str
    strength: float = 1.0
    """Of an anomaly its score, of a threshold ahead the seconds until it is crossed; of a change 1."""


class RuleRevision(msgspec.Struct):
    """One generated rule file: what it says, why, how it was checked, when it was live."""

    revision_id: str
    group: str
    created_at_ns: int
    content: str
    content_hash: str
    evidence: dict[str, object]
    checks: dict[str, str]
    state: str  # proposed | live | superseded | rolled_back | rejected
    live_from_ns: int | None = None
    live_until_ns: int | None = None
    replaces: str | None = None
    reason: str = ""


class Response(msgspec.Struct):
    """What people did about an incident; kept apart from what correlation says of it."""

    incident_id: str
    tenant: str
    changed_at_ns: int
    team: str = ""
    assignee: str = ""
    acknowledged_at_ns: int | None = None
    acknowledged_by: str = ""
    paused_seconds: float = 0.0
    """Time under acknowledgements that have ended; it does not count for the escalation."""
    first_acknowledged_at_ns: int | None = None
    mitigated_at_ns: int | None = None
    n_reopened: int = 0
    over_at_ns: int | None = None
    """When its alerts had ended; the time from then until they fire again does not count, either."""
    noise: bool | None = None
    """What people say it was; None while nobody has said."""
    cause: str = ""
    fix: str = ""
    open_again: str = ""
    """Why it is acknowledged no longer; empty where it is, or never was."""
    parts: list[str] = []
    """Incidents that went into it."""


class TimelineEntry(msgspec.Struct, frozen=True):
    """One thing that happened in an incident, for people and for the record."""

    incident_id: str
    at_ns: int
    kind: str
    actor: str
    text: str


class SeriesVerdict(msgspec.Struct, frozen=True):
    """One verdict of a person on one anomaly of a watched series."""

    query: str
    labels: dict[str, str]
    event_ms: int
    """When the anomaly began."""
    kind: str  # value | course: what was unusual
    verdict: str  # useful | noise
    actor: str
    at_ns: int
    tenant: str = DEFAULT_TENANT
    id: int | None = None
    """None until it is stored."""


class Feedback(msgspec.Struct, frozen=True):
    """One verdict of a person on one rule of an incident, or on a pair of rules that it put together."""

    incident_id: str
    tenant: str
    at_ns: int
    verdict: str  # useful | noise | duplicate | wrong_merge
    actor: str
    rule: str
    other_rule: str = ""
    believed: float = 0.5
    """Probability of noise as told with the incident, 0..1: a verdict teaches as much as it surprises."""
