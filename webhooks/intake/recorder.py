"""What Alertmanager's event recorder tells beyond the webhook: alerts that came and went untold.

Its output is protobuf as JSON, one event or a list of them. It loses events under load, so
it supplements the webhook: an end is believed where the alert is known, a beginning only
counts toward flapping. Source: eventrecorder.proto of Alertmanager 0.33 and later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sidecar.errors import PayloadError
from sidecar.records import AlertEvent
from webhooks.intake.payload import UNREADABLE, parse_time

KINDS = {
    "alertCreated": "alert_created",
    "alertResolved": "alert_resolved",
    "alertGrouped": "alert_grouped",
    "notification": "notification",
    "silenceCreated": "silence_created",
    "silenceUpdated": "silence_updated",
    "silenceMutedAlert": "silence_muted_alert",
    "inhibitionMutedAlert": "inhibition_muted_alert",
    "alertmanagerStartupEvent": "startup",
    "alertmanagerShutdownEvent": "shutdown",
}
MAX_PARTS = 1_000_000
"""Commas of one body, thousands of events and their labels; it is taken apart into a few times its size."""

_NAMES = {"".join(f"_{c.lower()}" if c.isupper() else c for c in kind): kind for kind in KINDS}


@dataclass
class Recorded:
    """One request's events."""

    created: list[AlertEvent] = field(default_factory=list)
    resolved: list[AlertEvent] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)


def parse_events(body: bytes) -> Recorded:
    """Events of a request body; an event that cannot be read is counted as `unknown`.

    Off the event loop, please, where they are many.

    Raises: PayloadError for what is no list of events, and for one of too many parts.
    """
    if body.count(b",") > MAX_PARTS:
        raise PayloadError(f"not from an Alertmanager's event recorder: it has more than {MAX_PARTS} parts")
    try:
        document = msgspec.json.decode(body)
    except UNREADABLE as error:
        words = " ".join(str(error).split())[:120]
        raise PayloadError(f"not from an Alertmanager's event recorder: {words}") from error
    events = document if isinstance(document, list) else [document]
    if not all(isinstance(event, Mapping) and isinstance(event.get("data"), Mapping) for event in events):
        raise PayloadError("not from an Alertmanager's event recorder: events have data")
    found = Recorded()
    for event in events:
        for name, data in event["data"].items():
            kind = name if name in KINDS else _NAMES.get(name, "")
            try:
                _take(kind, data, found)
            except (KeyError, TypeError, ValueError, AttributeError):
                kind = ""
            found.kinds[KINDS.get(kind, "unknown")] += 1
    return found


def _take(kind: str, data: Mapping[str, Any], found: Recorded) -> None:
    if kind == "alertCreated":
        found.created.append(_event(data["alert"], firing=True))
    elif kind == "alertResolved":
        grouped = data["alert"]
        found.resolved.append(_event(grouped.get("details") or grouped, firing=False))


def _event(alert: Mapping[str, Any], *, firing: bool) -> AlertEvent:
    starts = parse_time(str(alert.get("startsAt") or alert["starts_at"]))
    labels = _labels(alert["labels"])
    if starts is None or not labels:
        raise ValueError("an alert has labels and a start")
    ends = alert.get("endsAt") or alert.get("ends_at")
    return AlertEvent(
        # A 64-bit number here, sixteen hex digits in the webhook.
        fingerprint=f"{int(alert['fingerprint']):016x}",
        firing=firing,
        labels=labels,
        annotations=_labels(alert.get("annotations") or {}),
        starts_at_ns=starts,
        ends_at_ns=parse_time(str(ends)) if ends and not firing else None,
        generator_url="",
    )


def _labels(found: Mapping[str, Any]) -> dict[str, str]:
    """A label set: a list of pairs in the first version, a plain mapping in the second."""
    pairs = found.get("labels")
    if isinstance(pairs, list):
        return {str(pair["key"]): str(pair.get("value", "")) for pair in pairs}
    return {str(name): str(value) for name, value in found.items()}
