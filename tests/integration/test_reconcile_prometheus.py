"""Prometheus' own series decide: ends that a restarted Alertmanager forgot, ends that were none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.alerting import fired, metric, states
from tests.integration.servers import Alertmanager, Prometheus, Pronoia, free_port, http, wait_until

pytestmark = pytest.mark.integration

RULE = {"alert": "Down", "expr": "vector(1)", "labels": {"service": "shop"}}


def write_rule(prometheus: Prometheus, expr: str) -> None:
    groups = [{"name": "own", "rules": [{**RULE, "expr": expr}]}]
    (prometheus.rules / "own.yaml").write_text(json.dumps({"groups": groups}))


def over_in(prometheus: Prometheus) -> None:
    """The rule's condition holds no more."""
    write_rule(prometheus, "vector(0) > 1")
    assert http(prometheus.url + "/-/reload", data=b"")[0] == 200
    wait_until(lambda: not prometheus.query('ALERTS{alertname="Down"}'), what="Prometheus fires it no more")


@pytest.fixture
def servers(
    tmp_path: Path, keep: Callable[..., Any], request: pytest.FixtureRequest
) -> tuple[Prometheus, Alertmanager, Pronoia]:
    """All three; Prometheus names its cluster, and sends to Alertmanager where the parameter says so."""
    port = free_port()
    hook = f"http://127.0.0.1:{port}/webhooks/alertmanager"
    alertmanager: Alertmanager = keep(Alertmanager(tmp_path / "am", webhook=hook))
    alertmanager.start()
    sends_to = alertmanager.url if request.param else None
    prometheus: Prometheus = keep(Prometheus(tmp_path / "prometheus", alertmanager=sends_to))
    settings = json.loads(prometheus.config.read_text())
    settings["global"]["external_labels"] = {"cluster": "eu"}
    prometheus.config.write_text(json.dumps(settings))
    write_rule(prometheus, RULE["expr"])  # type: ignore[arg-type]
    prometheus.start()
    config = {
        "prometheus": {"url": prometheus.url, "timeout": "2s", "retries": 0, "breaker_cooldown": "1s"},
        "queries": [{"name": "one", "expr": "vector(1)", "step": "1m", "history": "10m"}],
        "alertmanagers": [{"url": alertmanager.url}],
        "webhook": {"reconcile_interval": "1s", "incident_hold": "0s"},
        "store": {"directory": str(tmp_path / "data")},
    }
    file = tmp_path / "pronoia.yaml"
    file.write_text(json.dumps(config))
    pronoia: Pronoia = keep(Pronoia(tmp_path / "pronoia", "--config", str(file), port=port))
    pronoia.start()
    return prometheus, alertmanager, pronoia


@pytest.mark.parametrize("servers", [pytest.param(True, id="sends")], indirect=True)
def test_an_end_that_an_alertmanager_forgot_in_a_restart(
    tmp_path: Path, servers: tuple[Prometheus, Alertmanager, Pronoia]
) -> None:
    prometheus, alertmanager, pronoia = servers
    wait_until(lambda: states(pronoia) == {"Down": "firing"}, what="it arrives by Alertmanager")
    alertmanager.kill()
    # Without what it told before, it sees no need to tell of an end.
    shutil.rmtree(tmp_path / "am" / "data")
    over_in(prometheus)
    alertmanager.start()
    wait_until(lambda: states(pronoia) == {"Down": "resolved"}, what="Prometheus proves the end")
    assert metric(pronoia, 'pronoia_reconciled_alerts_total{change="ended"}') == 1


@pytest.mark.parametrize("servers", [pytest.param(False, id="does not send")], indirect=True)
def test_an_end_that_was_none_and_one_while_pronoia_was_down(
    servers: tuple[Prometheus, Alertmanager, Pronoia],
) -> None:
    prometheus, alertmanager, pronoia = servers
    wait_until(lambda: prometheus.query('ALERTS{alertstate="firing"}'), what="Prometheus fires it")
    # Prometheus does not reach Alertmanager, which therefore ends what it holds.
    alertmanager.post([fired("Down", minutes_ago=0, cluster="eu")])
    wait_until(lambda: states(pronoia) == {"Down": "firing"}, what="it was told of before")
    alertmanager.post([fired("Down", minutes_ago=0, cluster="eu", ended=True)])
    refused = 'pronoia_reconciled_alerts_total{change="refused"}'
    wait_until(lambda: metric(pronoia, refused) == 1, what="the end is refused")
    assert states(pronoia) == {"Down": "firing"}
    pronoia.kill()
    over_in(prometheus)
    pronoia.start()
    wait_until(lambda: states(pronoia) == {"Down": "resolved"}, what="the end of the outage is found")
