"""The shipped example: forty rules, adapted on four weeks of a real Prometheus, replayed on the next four."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main

pytestmark = pytest.mark.integration


def test_the_noisy_example_falls_silent_and_still_catches_every_incident(tmp_path: Path) -> None:
    picture = tmp_path / "days.svg"
    arguments = ["rules", "replay", "--example", "--step", "5m", "--format", "json", "--plot", str(picture)]
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert len(told["rules"]) == 40
    assert sum(bool(rule["changes"]) for rule in told["rules"]) >= 15
    assert told["fall"] >= 0.8
    caught = [row for row in told["incidents"] if row["before_seconds"] is not None]
    assert len(caught) == len(told["incidents"]) == 7
    assert all(row["after_seconds"] <= row["before_seconds"] + 120 for row in caught)
    assert picture.read_text().startswith("<?xml")
