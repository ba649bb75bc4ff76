"""Alertmanager payloads and deliveries made by hand."""

from __future__ import annotations

import json
from typing import Any

from sidecar.records import Delivery
from webhooks.intake.payload import parse

ZERO = "0001-01-01T00:00:00Z"
T0 = "2026-01-01T00:00:00Z"
T1 = "2026-01-01T00:10:00Z"
T2 = "2026-01-01T00:20:00Z"
T3 = "2026-01-01T00:30:00Z"
SECOND = 1_000_000_000
EPOCH = 1_767_225_600 * SECOND  # T0 in ns


def alert(name: str = "Down", *, starts: str = T0, ends: str | None = None, **labels: str) -> dict[str, Any]:
    """One alert of a payload; resolved where `ends` is given."""
    return {
        "status": "resolved" if ends else "firing",
        "labels": {"alertname": name, **labels},
        "annotations": {"summary": f"{name} it is"},
        "startsAt": starts,
        "endsAt": ends or ZERO,
        "generatorURL": "http://prometheus/graph",
        "fingerprint": f"{abs(hash((name, *sorted(labels.items())))):016x}"[:16],
    }


def body(*alerts: Any, **fields: Any) -> bytes:
    """A version 4 payload."""
    document = {
        "version": "4",
        "groupKey": '{}:{alertname="Down"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "pronoia",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": list(alerts),
        **fields,
    }
    return json.dumps(document).encode()


def delivery(*alerts: Any, at_seconds: float = 0.0, **fields: Any) -> Delivery:
    """A parsed delivery, received so many seconds after T0."""
    return parse(body(*alerts, **fields), received_at_ns=EPOCH + int(at_seconds * SECOND))
