"""Alerts by hand, silences, and what pronoia believes of each alert."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.integration.servers import Alertmanager, Pronoia, get_json, http


def fired(name: str, *, minutes_ago: float = 20, ended: bool = False, **labels: str) -> dict[str, Any]:
    """An alert as Prometheus sends it to Alertmanager."""
    began = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    alert = {"labels": {"alertname": name, "service": "shop", **labels}, "startsAt": began.isoformat()}
    return {**alert, "endsAt": datetime.now(UTC).isoformat()} if ended else alert


def states(pronoia: Pronoia) -> dict[str, str]:
    """State of each rule's newest episode."""
    found: dict[str, str] = {}
    for incident in get_json(pronoia.url + "/api/v1/incidents")["data"]:
        detail = get_json(f"{pronoia.url}/api/v1/incidents/{incident['incident_id']}")["data"]
        for episode in detail["episodes"]:
            found[episode["labels"]["alertname"]] = episode["state"]
    return found


def silence(alertmanager: Alertmanager, name: str) -> None:
    """Mute a rule's alerts for an hour."""
    now = datetime.now(UTC)
    document = {
        "matchers": [{"name": "alertname", "value": name, "isRegex": False, "isEqual": True}],
        "startsAt": now.isoformat(),
        "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "test",
        "comment": "test",
    }
    status, body = http(
        alertmanager.url + "/api/v2/silences",
        data=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert status == 200, body


def metric(pronoia: Pronoia, name: str) -> float:
    """The value of one sample line of the own metrics, labels written as they stand there; 0 without it."""
    page = http(pronoia.url + "/metrics")[1].decode()
    found = [line for line in page.splitlines() if line.startswith(name + " ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0
