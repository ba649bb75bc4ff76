"""Back-tests of a real Prometheus' past: scores from the command line, and as blocks for promtool."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime
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
    assert series["events"][0]["rows"] == 30

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


def test_a_configured_query_is_judged_with_its_pauses_and_its_traffic(
    prometheus: Prometheus, tmp_path: Path
) -> None:
    at = int(time.time()) // 60 * 60 - 6 * 3600
    ratio = {"lower_bound": 0, "upper_bound": 1, "min_deviation": 0.01}
    errors = f"0.02 + 0.002 * sin(vector(time() / 7)) + 0.4 * (vector(time()) >= bool {at})"
    config = tmp_path / "pronoia.yaml"
    config.write_text(
        json.dumps(
            {
                "prometheus": {"url": prometheus.url},
                "queries": [
                    {"name": "bare", "expr": incident(at)},
                    {"name": "paused", "expr": incident(at)},
                    {"name": "errors", "expr": errors, **ratio},
                    {"name": "rare", "expr": errors, **ratio, "traffic": {"expr": "vector(3)"}},
                ],
                "pauses": [
                    {
                        "queries": ["paused"],
                        "start": datetime.fromtimestamp(at - 60, UTC).isoformat(),
                        "end": datetime.fromtimestamp(at + 1860, UTC).isoformat(),
                    }
                ],
            }
        )
    )
    flagged = {}
    for name in ("bare", "paused", "errors", "rare"):
        arguments = ["--config", str(config), "--as", name, "--start", "2d", "--format", "json"]
        result = CliRunner().invoke(main, ["backtest", *arguments])
        (series,) = json.loads(result.stdout)
        flagged[name] = series["flagged"] > 0
    assert flagged == {"bare": True, "paused": False, "errors": True, "rare": False}
    unknown = CliRunner().invoke(main, ["backtest", "--config", str(config), "--as", "other"])
    assert unknown.exit_code == 2
    assert "bare, paused, errors, rare" in unknown.output
