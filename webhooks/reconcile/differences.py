"""What an Alertmanager's list of alerts says against what we believe. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.records import AlertEvent, Episode
from webhooks.intake.payload import parse_time
from webhooks.own import INCIDENT_LABEL

SECOND_NS = 1_000_000_000
LEARN_AFTER_NS = 300 * SECOND_NS
"""An alert that fires for less may still wait in its group; Alertmanager will tell of it."""

SETTLED_NS = 5 * SECOND_NS
"""An alert heard of just now is not missed because a list of a moment ago lacks it."""

YOUNG_NS = 300 * SECOND_NS
"""An Alertmanager younger than this may not have been told again of what fired before it started."""

ABSENT_LOOKS = 2

Sought = tuple[str, int]
"""Fingerprint and start of an episode whose end is suspected."""


@dataclass(frozen=True, slots=True)
class Held:
    """One alert as an Alertmanager holds it."""

    event: AlertEvent
    suppressed: bool
    receivers: frozenset[str]


@dataclass
class Differences:
    """What must change for us to believe what Alertmanager does."""

    learned: list[AlertEvent] = field(default_factory=list)
    settled: list[AlertEvent] = field(default_factory=list)
    ended: list[AlertEvent] = field(default_factory=list)
    refused: list[AlertEvent] = field(default_factory=list)
    absent: dict[Sought, int] = field(default_factory=dict)


def read(alerts: Iterable[Mapping[str, Any]]) -> list[Held]:
    """Alerts of `/api/v2/alerts`; what cannot be read is passed over."""
    held = []
    for alert in alerts:
        try:
            starts_at_ns = parse_time(str(alert["startsAt"]))
            labels = {str(k): str(v) for k, v in alert["labels"].items()}
            if starts_at_ns is None or not labels or INCIDENT_LABEL in labels:
                continue
            event = AlertEvent(
                fingerprint=str(alert["fingerprint"]),
                firing=True,
                labels=labels,
                annotations={str(k): str(v) for k, v in (alert.get("annotations") or {}).items()},
                starts_at_ns=starts_at_ns,
                ends_at_ns=None,
                generator_url=str(alert.get("generatorURL") or ""),
            )
            state = str((alert.get("status") or {}).get("state", ""))
            receivers = frozenset(str(r.get("name")) for r in alert.get("receivers") or ())
        except (KeyError, TypeError, ValueError, AttributeError):
            continue
        held.append(Held(event, state == "suppressed", receivers))
    return held


def compare(
    held: Iterable[Held],
    known: Mapping[str, Episode],
    *,
    now_ns: int,
    ours: frozenset[str],
    up_since_ns: int | None,
    absent_before: Mapping[Sought, int],
    seen_there: Collection[str],
    still_firing: Collection[str] = frozenset(),
    cut: bool = False,
) -> Differences:
    """What Alertmanager knows better.

    `held`: the alerts of all Alertmanagers together. `known`: the newest episode by fingerprint.
    `ours`: names of the receivers that send to us; only their alerts are learned. `up_since_ns`:
    since when all Alertmanagers are up; None where one did not answer, and absence says nothing.
    `seen_there`: fingerprints of which these Alertmanagers told; others may have another sender.
    `still_firing`: fingerprints that Prometheus shows firing, which none can have ended.
    `cut`: whether a delivery left alerts out, which nobody will tell of.
    """
    firing: dict[str, Held] = {}
    for one in held:
        other = firing.get(one.event.fingerprint)
        if other is None or one.event.starts_at_ns > other.event.starts_at_ns:
            firing[one.event.fingerprint] = one
    found = Differences()
    for fingerprint, one in firing.items():
        episode = known.get(fingerprint)
        if episode is None or (
            episode.state == "resolved"
            and one.event.starts_at_ns > max(episode.starts_at_ns, episode.ends_at_ns or 0)
        ):
            # A muted one would not have been sent to us either.
            old = cut or now_ns - one.event.starts_at_ns > LEARN_AFTER_NS
            if old and not one.suppressed and one.receivers & ours:
                found.learned.append(one.event)
        elif episode.state == "unknown":
            found.settled.append(one.event)
    if up_since_ns is None:
        return found
    grown = now_ns - up_since_ns >= YOUNG_NS
    for fingerprint, episode in known.items():
        if episode.state == "resolved" or fingerprint in firing or fingerprint not in seen_there:
            continue
        if fingerprint in still_firing or now_ns - episode.last_seen_ns < SETTLED_NS:
            continue
        if not grown and episode.last_seen_ns < up_since_ns:
            continue
        looks = absent_before.get((fingerprint, episode.starts_at_ns), 0) + 1
        if looks < ABSENT_LOOKS:
            found.absent[fingerprint, episode.starts_at_ns] = looks
        else:
            found.ended.append(ended(episode, now_ns))
    return found


def ended(episode: Episode, at_ns: int) -> AlertEvent:
    """The event that says that an episode is over."""
    return AlertEvent(
        fingerprint=episode.fingerprint,
        firing=False,
        labels=episode.labels,
        annotations=episode.annotations,
        starts_at_ns=episode.starts_at_ns,
        ends_at_ns=max(at_ns, episode.starts_at_ns),
        generator_url=episode.generator_url,
    )
