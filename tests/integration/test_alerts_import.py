"""Alerts that a real Prometheus remembers become incidents of the past."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sidecar.cli.alerts import alerts
from sidecar.cli.incidents import incidents
from sidecar.store import maintenance
from sidecar.store.connection import FILE, connect
from tests.integration.conftest import wave_config
from tests.integration.servers import Prometheus, Pronoia, get_json, wait_until
from webhooks.reconcile.outage import NOTE

pytestmark = pytest.mark.integration


@pytest.fixture
def remembering(tmp_path: Path, keep: Callable[..., Any]) -> Prometheus:
    """A Prometheus that remembers three alerts of the last two hours, two of which began together."""
    prometheus: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    now = int(time.time()) // 60 * 60
    series = 'ALERTS{{alertname="Down",alertstate="{state}",service="{service}"}} 1 {at}'
    rows = [
        series.format(state=state, service=service, at=now - ago)
        for state, service, began, ended in (
            ("pending", "db", 7400, 7200),
            ("firing", "db", 7200, 6000),
            ("firing", "web", 7200, 6000),
            ("firing", "db", 3000, 2400),
        )
        for ago in range(began, ended, -60)
    ]
    prometheus.backfill("# TYPE ALERTS gauge\n" + "\n".join(sorted(rows)) + "\n# EOF\n")
    prometheus.start()
    return prometheus


def test_alerts_of_prometheus_are_imported(tmp_path: Path, remembering: Prometheus) -> None:
    data = ["--data", str(tmp_path / "data")]
    arguments = ["import", *data, "--prometheus", remembering.url, "--start", "3h"]
    result = CliRunner().invoke(alerts, arguments)
    assert result.exit_code == 0, result.output
    assert "3 alerts stored in 2 incidents" in result.output
    found = json.loads(CliRunner().invoke(incidents, ["list", *data, "--format", "json"]).output)
    assert [one["n_episodes"] for one in found] == [1, 2]
    lasted = [(one["ended_at_ns"] - one["started_at_ns"]) / 1e9 for one in found]
    # Prometheus shows a sample for five minutes where nothing says that it ended.
    assert 600 <= lasted[0] <= 960
    assert 1200 <= lasted[1] <= 1560


def test_alerts_of_an_outage_are_found_at_the_next_start(
    tmp_path: Path, remembering: Prometheus, make_pronoia: Callable[..., Pronoia]
) -> None:
    data = tmp_path / "data"
    maintenance.migrate(data / FILE)
    connection = connect(data / FILE)
    last_heard = json.dumps(time.time() - 4800).encode()
    connection.execute("insert into notes (name, body) values (?, ?)", (NOTE, last_heard))
    connection.close()
    pronoia = make_pronoia(wave_config(remembering.url, tmp_path))
    pronoia.start()
    (incident,) = wait_until(lambda: get_json(pronoia.url + "/api/v1/incidents")["data"], what="the past")
    assert (incident["state"], incident["n_episodes"]) == ("resolved", 1), "what came before it stays out"
    assert "Down" in incident["title"]
