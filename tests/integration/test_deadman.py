"""The always-firing alert of a real Prometheus and Alertmanager, which are then killed in turn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers import Alertmanager, Prometheus, Pronoia, free_port, get_json, http, wait_until

pytestmark = pytest.mark.integration

WATCHDOG = {
    "alert": "Watchdog",
    "expr": "vector(time())",
    "labels": {"severity": "none"},
    "annotations": {"evaluated_at": '{{ printf "%.3f" $value }}'},
}


def test_a_killed_alertmanager_and_a_killed_prometheus_are_incidents_of_their_own(
    tmp_path: Path, keep: Callable[..., Any], make_pronoia: Callable[..., Pronoia]
) -> None:
    port = free_port()
    alertmanager: Alertmanager = keep(
        Alertmanager(
            tmp_path / "am",
            webhook=f"http://127.0.0.1:{port}/webhooks/alertmanager",
            group_interval="1s",
            repeat_interval="1s",
        )
    )
    alertmanager.start()
    prometheus: Prometheus = keep(Prometheus(tmp_path / "prometheus", alertmanager=alertmanager.url))
    (prometheus.rules / "own.yaml").write_text(json.dumps({"groups": [{"name": "own", "rules": [WATCHDOG]}]}))
    prometheus.start()
    pronoia = make_pronoia(
        {
            "prometheus": {"url": prometheus.url, "timeout": "1s", "retries": 0, "breaker_cooldown": "1s"},
            "queries": [{"name": "one", "expr": "vector(1)", "step": "1m", "history": "10m"}],
            "alertmanagers": [{"url": alertmanager.url}],
            "webhook": {
                "incident_hold": "1s",
                "heartbeat": {"timeout": "3s", "look_interval": "1s"},
            },
            "store": {"directory": str(tmp_path / "data")},
        },
        port=port,
    )
    pronoia.start()

    def found(name: str) -> list[dict[str, Any]]:
        incidents = get_json(pronoia.url + "/api/v1/incidents")["data"]
        return [one for one in incidents if name in one["title"]]

    wait_until(
        lambda: b"pronoia_heartbeat_delay_seconds{" in http(pronoia.url + "/metrics")[1], what="a beat"
    )
    text = http(pronoia.url + "/metrics")[1].decode()
    (line,) = [line for line in text.splitlines() if line.startswith("pronoia_heartbeat_delay_seconds{")]
    assert 0.0 < float(line.rpartition(" ")[2]) < 30.0, "from evaluation to here"
    alertmanager.kill()
    (incident,) = wait_until(lambda: found("AlertmanagerNotDelivering"), what="its silence is an incident")
    assert (incident["n_episodes"], incident["priority"], incident["noise"]) == (1, "P2", 0.0)
    alertmanager.start()
    wait_until(
        lambda: [one["state"] for one in found("AlertmanagerNotDelivering")] == ["resolved"],
        what="it delivers again",
    )
    prometheus.kill()
    wait_until(lambda: found("PrometheusNotEvaluating"), what="Prometheus' silence is an incident")
    prometheus.start()
    wait_until(
        lambda: [one["state"] for one in found("PrometheusNotEvaluating")] == ["resolved"],
        what="it evaluates again",
    )
