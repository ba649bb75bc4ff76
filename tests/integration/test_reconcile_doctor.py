"""`pronoia doctor` against a real Alertmanager, whose own answer it reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from tests.integration.servers import Alertmanager

pytestmark = pytest.mark.integration


def test_what_alertmanager_shows_is_enough_to_find_the_fault(
    tmp_path: Path, keep: Callable[..., Any]
) -> None:
    alertmanager: Alertmanager = keep(Alertmanager(tmp_path / "am", webhook="http://127.0.0.1:1/"))
    document = json.loads((tmp_path / "am" / "alertmanager.yml").read_text())
    document["receivers"][0]["webhook_configs"][0].update(send_resolved=False, max_alerts=5)
    (tmp_path / "am" / "alertmanager.yml").write_text(json.dumps(document))
    alertmanager.start()
    config = tmp_path / "pronoia.yaml"
    settings = {"prometheus": {"url": "http://127.0.0.1:1", "retries": 0}}
    config.write_text(json.dumps({**settings, "alertmanagers": [{"url": alertmanager.url}]}))
    command = ["doctor", "--config", str(config), "--data", str(tmp_path), "--format", "json"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1, result.output
    findings = json.loads(result.stdout)
    assert {(one["level"], one["where"]) for one in findings} == {
        ("error", "http://127.0.0.1:1"),
        ("error", alertmanager.url),
        ("warning", alertmanager.url),
    }
    words = " ".join(one["what"] for one in findings)
    assert "send_resolved is off" in words
    assert "max_alerts 5" in words
