"""Back-tests of a real Prometheus' past: scores from the command line, and as blocks for promtool."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from tests.integration.servers import Prometheus

pytestmark = pytest.mark.integration

# Any Prometheus has this series, without a scrape; the incident is five times as much for half an hour.
LEVEL = "100 + 5 * sin(vector(time() / 7)) + 3 * sin(vector(time() / 31))"


def incident(at: int) -> str:
    return f"({LEVEL}) * (1 + 4 * (vector(time()) >= bool {at}) * (vector(time()) < bool {at + 1800}))"


def backtest(prometheus: Prometheus, *arguments: str) -> Any:
    return CliRunner().invoke(
        main, ["backtest", "--prometheus", prometheus.url, "--step", "1m", "--start", "2d", *arguments]
    )


def test_the_incident_and_nothing_else_would_have_been_flagged(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    at = int(time.time()) // 60 * 60 - 6 * 3600
    blocks = tmp_path / "past.om"
    result = backtest(
        prometheus,
        "--query",
        incident(at),
        "--format",
        "json",
        "--openmetrics",
        str(blocks),
        "--name",
        "past",
    )
    assert result.exit_code == 1, result.output
    (series,) = json.loads(result.stdout)
    assert len(series["events"]) == 1
    assert 30 <= series["events"][0]["rows"] <= 32

    made = subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", str(blocks), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert any((tmp_path / "data").iterdir())
    text = blocks.read_text()
    assert text.endswith("# EOF\n")
    assert 'pronoia_anomaly_score{query="past"}' in text


def test_a_quiet_past_ends_with_zero_and_says_so(prometheus: Prometheus) -> None:
    result = backtest(prometheus, "--query", LEVEL)
    assert result.exit_code == 0, result.output
    assert "0 flagged in 0 events" in result.stdout


def test_a_query_is_scored_into_files(prometheus: Prometheus, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main,
        [
            "score",
            "--prometheus",
            prometheus.url,
            "--query",
            LEVEL,
            "--start",
            "1d",
            "--out",
            str(tmp_path / "o"),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "0 events" in result.stdout
    assert len((tmp_path / "o" / "0000.csv").read_text().splitlines()) > 200
