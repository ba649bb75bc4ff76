"""`pronoia alerts replay`: a dead letter that has become usable is taken, another stays with its reason."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from sidecar.store.connection import FILE
from tests.integration.servers import Pronoia, free_port, get_json, http, wait_until

pytestmark = pytest.mark.integration

GOOD = {"status": "firing", "labels": {"alertname": "Mended"}, "startsAt": "2026-01-01T00:00:00Z"}
BAD = {"status": "firing", "labels": {"alertname": "Odd"}, "startsAt": "yesterday"}


def test_what_is_usable_now_is_taken(tmp_path: Path, keep: Callable[..., Any]) -> None:
    data, port = tmp_path / "data", free_port()
    settings = {
        "server": {"listen": f"127.0.0.1:{port}"},
        "prometheus": {"url": "http://127.0.0.1:1"},
        "store": {"directory": str(data)},
        "webhook": {
            "receivers": [{"name": "to-blue", "tenant": "blue", "auth": {"bearer_token": "sesame"}}],
            "reconcile_interval": 0,
        },
    }
    config = tmp_path / "pronoia.yaml"
    config.write_text(json.dumps(settings))
    pronoia: Pronoia = keep(Pronoia(tmp_path / "pronoia", "--config", str(config), port=port))
    pronoia.start()
    body = json.dumps({"version": "4", "alerts": [BAD]}).encode()
    assert http(pronoia.url + "/webhooks/alertmanager", data=body)[0] == 200
    connection = sqlite3.connect(data / FILE)
    with connection:
        connection.executemany(
            "insert into dead_letters (tenant, receiver, received_at_ns, reason, raw) values (?, ?, ?, ?, ?)",
            [
                (tenant, "r", 1, "an older pronoia did not know it", json.dumps(GOOD).encode())
                for tenant in ("default", "blue", "gone")
            ],
        )
    result = CliRunner().invoke(main, ["alerts", "replay", "--config", str(config)])
    assert result.exit_code == 1, result.output
    assert "2 of 4 dead letters were taken" in result.output
    assert "yesterday" in result.output
    assert "tenant gone's" in result.output
    wait_until(
        lambda: len(get_json(pronoia.url + "/api/v1/incidents")["data"]) == 2, what="each is an incident"
    )
    assert connection.execute("select tenant from episodes order by tenant").fetchall() == [
        ("blue",),
        ("default",),
    ]
    left = connection.execute("select tenant, raw from dead_letters order by tenant").fetchall()
    connection.close()
    assert [tenant for tenant, _ in left] == ["default", "gone"], "what stays is not multiplied"
    assert b"yesterday" in left[0][1]
