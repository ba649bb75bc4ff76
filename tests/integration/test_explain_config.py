"""`pronoia explain-config` and `pronoia import labels` against a real Prometheus with history."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from sidecar.config.load import load_file
from tests.integration.servers import Prometheus

pytestmark = pytest.mark.integration


@pytest.fixture
def prometheus(tmp_path: Path, keep: Callable[..., Any]) -> Prometheus:
    """Two days of two series, one of them tagged for another detector."""
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    now = int(time.time()) // 60 * 60
    lines = ["# TYPE load gauge"]
    lines += [f'load{{job="a"}} 1 {at}' for at in range(now - 2 * 86400, now + 60, 60)]
    lines += [
        f'load{{anomaly_name="checkout load",anomaly_type="requests",job="b"}} 2 {at}'
        for at in range(now - 2 * 86400, now + 60, 60)
    ]
    server.backfill("\n".join([*lines, "# EOF\n"]))
    server.start()
    return server


def test_a_configuration_is_explained_before_it_runs(tmp_path: Path, prometheus: Prometheus) -> None:
    file = tmp_path / "pronoia.yaml"
    file.write_text(
        f"prometheus: {{url: '{prometheus.url}'}}\n"
        "queries:\n"
        "- {name: load, expr: load, history: 4d, forecast_horizons: [1h]}\n"
        "- {name: one, expr: sum(load), history: 1d, rule: false, forecast_horizons: [], "
        "detector: council, council: [matrix_profile]}\n"
        "rules: {directory: " + str(tmp_path / "rules") + ", min_history: 3d}\n"
        "export: {metric_format: [pronoia, vmanomaly], max_series: 40}\n"
    )
    result = CliRunner().invoke(main, ["explain-config", "--config", str(file), "--format", "json"])
    load, one = json.loads(result.output)
    assert (load["n_series"], one["n_series"]) == (2, 1)
    assert load["history_seconds"] == 2 * 86400
    assert load["history_points"] == 2 * 2 * 1440
    assert load["output_series"] == 2 * (9 + 8)
    assert (one["output_series"], one["output_series_wanted"]) == (0, 11), "40 are not enough for both"
    assert result.exit_code == 1
    assert load["scored_after_seconds"] == 0
    assert load["trusted_after_seconds"] == 86400
    assert load["rules"] == "group pronoia-load, 2 series, 2 sides, in 1d"
    assert one["rules"] == "none: rule is false"
    assert load["model_bytes"] > 1000
    assert 0 < load["cpu_share"] < 0.01
    assert load["cpu_share_beside"] == 0 < one["cpu_share_beside"]
    assert load["query_samples"] == 2, "as Prometheus counts them"
    assert 0 < load["query_seconds"] < 60 * load["query_share"] + 1e-3
    words = CliRunner().invoke(main, ["explain-config", "--config", str(file)]).output
    assert "in all: 3 series" in words
    assert "at the first start 5,760 points, the history of 2d" in words
    assert words.count(" beside it") == 1, "of the council"


def test_a_query_that_fails_is_told(tmp_path: Path, prometheus: Prometheus) -> None:
    file = tmp_path / "pronoia.yaml"
    file.write_text(
        f"prometheus: {{url: '{prometheus.url}'}}\nqueries: [{{name: q, expr: load, max_series: 1}}]"
    )
    result = CliRunner().invoke(main, ["explain-config", "--config", str(file)])
    assert result.exit_code == 1
    assert "its limit is 1" in result.output


def test_tagged_series_become_queries(tmp_path: Path, prometheus: Prometheus) -> None:
    target = tmp_path / "imported.yaml"
    arguments = ["import", "labels", "--prometheus", prometheus.url, "--out", str(target)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1, "two things are different there"
    config = load_file(target, env={})
    (query,) = config.queries
    assert query.name == "checkout_load"
    assert config.export.formats == ("pronoia", "promql_anomaly_detection")
    assert [one["metric"]["job"] for one in prometheus.query(query.expr)] == ["b"]
    assert "requests" in target.read_text()


def test_doctor_finds_what_is_wrong_with_the_data(tmp_path: Path, prometheus: Prometheus) -> None:
    file = tmp_path / "pronoia.yaml"
    file.write_text(
        f"prometheus: {{url: '{prometheus.url}'}}\n"
        "queries: [{name: load, expr: load}, {name: risen, expr: timestamp(load)}, "
        "{name: broken, expr: load, max_series: 1}]"
    )
    result = CliRunner().invoke(main, ["doctor", "--config", str(file), "--format", "json"])
    found = {one["where"]: one["what"] for one in json.loads(result.output)}
    assert "query load" not in found, "that nothing failed for a day is no fault of the data"
    assert found["query risen"] == "100% of the series only ever rise: they are counters"
    assert "its limit is 1" in found["query broken"]
