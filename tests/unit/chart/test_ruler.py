"""The ruler's configuration on real servers: it evaluates what only the other Prometheus has, and alerts."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from tests.integration.servers import (
    Alertmanager,
    Prometheus,
    Server,
    binary,
    free_port,
    get_json,
    http,
    stopping,
    wait_until,
)
from tests.unit.chart.helm_chart import only, render

pytestmark = pytest.mark.integration


def test_rules_fire_from_another_prometheus_data(tmp_path: Path) -> None:
    directory = tmp_path / "ruler"
    rules = directory / "rules"
    rules.mkdir(parents=True)
    alertmanager = Alertmanager(tmp_path / "alertmanager", webhook="http://127.0.0.1:1/nobody")
    source = Prometheus(
        tmp_path / "prometheus",
        scrape=[{"job_name": "gone", "static_configs": [{"targets": ["127.0.0.1:1"]}]}],
    )
    settings = ",".join(
        [
            "rules.mode=ruler",
            "rules.ruler.evaluationInterval=1s",
            f"config.prometheus.url={source.url}",
            f"config.alertmanagers[0].url={alertmanager.url}",
        ]
    )
    text = only(render("--set", settings), "ConfigMap")["data"]["ruler.yaml"]
    config = directory / "ruler.yaml"
    config.write_text(text.replace("/var/lib/pronoia-rules", str(rules)))
    port = free_port()
    ruler = Server(
        [
            binary("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
            # The default of a minute is how long a first alert waits for Alertmanager to be discovered.
            "--rules.alert.resend-delay=2s",
        ],
        port=port,
        health="/-/ready",
        log=directory / "log",
    )
    group = {"name": "g", "rules": [{"alert": "Gone", "expr": "up == 0"}]}
    with stopping(alertmanager, source, ruler):
        for server in (alertmanager, source, ruler):
            server.start()
        wait_until(lambda: source.query("up"), what="a scrape by the source")
        seen = get_json(f"{ruler.url}/api/v1/query?query={quote('up')}")["data"]["result"]
        assert [each["metric"]["job"] for each in seen] == ["gone"]
        (rules / "pronoia-g.rules.yaml").write_text(yaml.safe_dump({"groups": [group]}))
        assert http(f"{ruler.url}/-/reload", data=b"", method="POST")[0] == 200
        (alert,) = wait_until(
            lambda: get_json(f"{alertmanager.url}/api/v2/alerts"),
            timeout=40,
            what="the alert in Alertmanager",
        )
        assert alert["labels"] == {"alertname": "Gone", "instance": "127.0.0.1:1", "job": "gone"}
