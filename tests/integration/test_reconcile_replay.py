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
from tests.integration.servers import Pronoia, get_json, http, wait_until

pytestmark = pytest.mark.integration

GOOD = {"status": "firing", "labels": {"alertname": "Mended"}, "startsAt": "2026-01-01T00:00:00Z"}
BAD = {"status": "firing", "labels": {"alertname": "Odd"}, "startsAt": "yesterday"}


def test_what_is_usable_now_is_taken(tmp_path: Path, keep: Callable[..., Any]) -> None:
    data = tmp_path / "data"
    pronoia: Pronoia = keep(
        Pronoia(tmp_path / "pronoia", "--prometheus", "http://127.0.0.1:1", "--data", str(data))
    )
    pronoia.start()
    body = json.dumps({"version": "4", "alerts": [BAD]}).encode()
    assert http(pronoia.url + "/webhooks/alertmanager", data=body)[0] == 200
    connection = sqlite3.connect(data / FILE)
    with connection:
        connection.execute(
            "insert into dead_letters (tenant, receiver, received_at_ns, reason, raw) values (?, ?, ?, ?, ?)",
            ("default", "r", 1, "an older pronoia did not know it", json.dumps(GOOD).encode()),
        )
    command = ["alerts", "replay", "--data", str(data), "--to", pronoia.url]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1, result.output
    assert "1 of 2 dead letters were taken" in result.output
    assert "yesterday" in result.output
    wait_until(lambda: get_json(pronoia.url + "/api/v1/incidents")["data"], what="it is an incident")
    left = connection.execute("select raw from dead_letters").fetchall()
    connection.close()
    assert len(left) == 1, "what stays is not multiplied"
    assert b"yesterday" in left[0][0]
