"""With a real Alertmanager: ends of silenced alerts, groups shown in part, what fired while we were down."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.alerting import fired, metric, silence, states
from tests.integration.servers import Alertmanager, Pronoia, free_port, wait_until

pytestmark = pytest.mark.integration


def asking(alertmanager: Alertmanager, tmp_path: Path, port: int) -> Pronoia:
    """A pronoia that asks this Alertmanager each second, and no Prometheus; not started."""
    config = {
        "prometheus": {"url": "http://127.0.0.1:1"},
        "alertmanagers": [{"url": alertmanager.url}],
        "webhook": {"reconcile_interval": "1s", "incident_hold": "0s"},
        "store": {"directory": str(tmp_path / "data")},
    }
    file = tmp_path / "pronoia.yaml"
    file.write_text(json.dumps(config))
    return Pronoia(tmp_path / "pronoia", "--config", str(file), port=port)


def test_ends_never_told_and_alerts_missed(tmp_path: Path, keep: Callable[..., Any]) -> None:
    port = free_port()
    alertmanager: Alertmanager = keep(
        Alertmanager(tmp_path / "am", webhook=f"http://127.0.0.1:{port}/webhooks/alertmanager")
    )
    alertmanager.start()
    pronoia: Pronoia = keep(asking(alertmanager, tmp_path, port))
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


def test_what_a_group_does_not_show(tmp_path: Path, keep: Callable[..., Any]) -> None:
    """One that seems resolved while a muted member fires, and one of which only a part is sent."""
    port = free_port()
    alertmanager: Alertmanager = keep(
        Alertmanager(
            tmp_path / "am", webhook=f"http://127.0.0.1:{port}/webhooks/alertmanager", group_by=("service",)
        )
    )
    settings = json.loads((tmp_path / "am" / "alertmanager.yml").read_text())
    settings["receivers"][0]["webhook_configs"][0]["max_alerts"] = 2
    (tmp_path / "am" / "alertmanager.yml").write_text(json.dumps(settings))
    alertmanager.start()
    pronoia: Pronoia = keep(asking(alertmanager, tmp_path, port))
    pronoia.start()
    cut = [fired(f"Cut{i}", minutes_ago=0, service="cart") for i in range(5)]
    alertmanager.post([fired("Muted"), fired("Over"), *cut])
    everything = {"Muted": "firing", "Over": "firing", **{f"Cut{i}": "firing" for i in range(5)}}
    wait_until(lambda: states(pronoia) == everything, what="what was cut off is learned at once")
    assert metric(pronoia, "pronoia_webhook_truncated_alerts_total") >= 3
    silence(alertmanager, "Muted")
    alertmanager.post([fired("Over", ended=True)])
    wait_until(lambda: states(pronoia)["Over"] == "resolved", what="the end of the other is told")
    looks = 'pronoia_reconcile_looks_total{result="ok"}'
    before = metric(pronoia, looks)
    wait_until(lambda: metric(pronoia, looks) >= before + 3, what="and looked at again")
    assert states(pronoia) == {**everything, "Over": "resolved"}
