"""With a real Alertmanager: the end of a silenced alert, and what fired while pronoia was down."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers import Alertmanager, Pronoia, free_port, get_json, http, wait_until

pytestmark = pytest.mark.integration


def fired(name: str, *, ended: bool = False) -> dict[str, Any]:
    began = datetime.now(UTC) - timedelta(minutes=20)
    alert = {"labels": {"alertname": name, "service": "shop"}, "startsAt": began.isoformat()}
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


def test_ends_never_told_and_alerts_missed(tmp_path: Path, keep: Callable[..., Any]) -> None:
    port = free_port()
    alertmanager: Alertmanager = keep(
        Alertmanager(tmp_path / "am", webhook=f"http://127.0.0.1:{port}/webhooks/alertmanager")
    )
    alertmanager.start()
    config = {
        "prometheus": {"url": "http://127.0.0.1:1"},
        "alertmanagers": [{"url": alertmanager.url}],
        "webhook": {"reconcile_interval": "1s", "incident_hold": "0s"},
        "store": {"directory": str(tmp_path / "data")},
    }
    file = tmp_path / "pronoia.yaml"
    file.write_text(json.dumps(config))
    pronoia: Pronoia = keep(Pronoia(tmp_path / "pronoia", "--config", str(file), port=port))
    pronoia.start()
    alertmanager.post([fired("Silenced"), fired("Lasting")])
    wait_until(lambda: states(pronoia) == {"Silenced": "firing", "Lasting": "firing"}, what="both are known")
    silence(alertmanager, "Silenced")
    alertmanager.post([fired("Silenced", ended=True)])
    wait_until(
        lambda: states(pronoia) == {"Silenced": "resolved", "Lasting": "firing"},
        timeout=60,
        what="the end that Alertmanager never sends is found",
    )
    pronoia.kill()
    # Alertmanager is told of an alert, cannot deliver, and gives its group up for an hour.
    alertmanager.post([fired("Missed")])
    pronoia.start()
    wait_until(
        lambda: states(pronoia).get("Missed") == "firing", timeout=60, what="what was missed is learned"
    )
    assert states(pronoia)["Lasting"] == "firing"
