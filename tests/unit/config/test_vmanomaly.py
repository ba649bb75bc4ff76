"""What of a vmanomaly configuration is said in pronoia's words, and what is listed as having none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from sidecar.cli.main import main
from sidecar.config.load import load_file
from sidecar.config.vmanomaly import from_vmanomaly

FULL = """
settings: {restore_state: true}
schedulers:
  hourly: {class: periodic, fit_every: 1h, fit_window: 2w, infer_every: 1m}
  daily: {class: periodic, fit_window: 3d}
models:
  envelope: {class: temporal_envelope, queries: [load, 5xx], schedulers: [hourly], alpha: 0.005}
  zscore: {class: zscore_online, queries: [sunny], schedulers: [daily], min_dev_from_expected: [1, 5]}
reader:
  class: vm
  datasource_url: "%{VM_URL}/"
  sampling_period: 1m
  tenant_id: "0:0"
  bearer_token: "%{TOKEN}"
  queries:
    load: {expr: 'sum(node_load1) by (job)', step: 30s, data_range: [0, .inf],
           detection_direction: above_expected, min_rel_dev_from_expected: 20, tz: Europe/Kyiv}
    5xx: 'sum(rate(http_requests_total{code=~"5.."}[5m]))'
    sunny: 'up'
    metricsql: 'rollup_rate(x[5m]) default 0'
writer:
  class: vm
  datasource_url: http://vm:8428
  metric_format: {__name__: "node_$VAR", for: $QUERY_KEY, config: nodes}
"""


def translated(text: str) -> tuple[dict[str, Any], list[str]]:
    found = from_vmanomaly(yaml.safe_load(text))
    return found.document, found.left_out


def test_what_has_an_equivalent_is_translated() -> None:
    document, _ = translated(FULL)
    assert document == {
        "prometheus": {"url": "${VM_URL}", "http": {"bearer_token": "${TOKEN}"}},
        "queries": [
            {
                "name": "load",
                "expr": "sum(node_load1) by (job)",
                "step": "30s",
                "history": "14d",
                "direction": "above",
                "min_relative_deviation": 0.2,
                "lower_bound": 0.0,
            },
            {
                "name": "_5xx",
                "expr": 'sum(rate(http_requests_total{code=~"5.."}[5m]))',
                "step": "1m",
                "history": "14d",
            },
            {"name": "sunny", "expr": "up", "step": "1m", "history": "3d", "min_deviation": 1.0},
        ],
        "export": {"metric_format": ["pronoia", "vmanomaly"], "extra_labels": {"config": "nodes"}},
    }


@pytest.mark.parametrize(
    "place",
    ["schedulers.hourly.fit_every", "models.envelope.class", "models.envelope.alpha", "reader.tenant_id",
     "reader.queries.load.tz", "reader.queries.metricsql", "reader.queries.5xx",
     "reader.queries.sunny.min_dev_from_expected", "writer.metric_format.__name__",
     "writer.datasource_url", "settings"],
)  # fmt: skip
def test_what_has_none_is_listed(place: str) -> None:
    _, left_out = translated(FULL)
    assert any(one.startswith(place) for one in left_out), left_out


def test_the_older_form_with_one_model_and_scheduler() -> None:
    document, left_out = translated(
        "{scheduler: {fit_window: 3h}, model: {class: model.prophet.ProphetModel, args: {width: 0.98}},"
        " reader: {datasource_url: 'http://vm:8428/', queries: {cpu: 'rate(cpu[5m])'}}}"
    )
    assert document["queries"] == [{"name": "cpu", "expr": "rate(cpu[5m])", "history": "3h"}]
    assert any(one.startswith("models.default.args") for one in left_out)


def test_durations_may_be_those_of_iso_8601() -> None:
    document, _ = translated(
        "{schedulers: {p: {fit_window: P2W, infer_every: PT1M}}, models: {m: {class: zscore}}, reader: "
        "{sampling_period: PT1M30S, timeout: PT5S, queries: {up: up, down: {expr: down, step: PT1H}}}}"
    )
    assert document["prometheus"] == {"timeout": "5s"}
    assert [(one["step"], one["history"]) for one in document["queries"]] == [("1m30s", "14d"), ("1h", "14d")]


def test_queries_whose_names_become_one_are_kept_apart() -> None:
    document, left_out = translated("reader: {queries: {a-b: up, a.b: down}}")
    assert [query["name"] for query in document["queries"]] == ["a_b", "a_b_"]
    assert any("a.b: is called a_b_ now" in one for one in left_out)


def test_the_file_that_is_written_can_be_run(tmp_path: Path) -> None:
    source, target = tmp_path / "vmanomaly.yml", tmp_path / "pronoia.yaml"
    source.write_text(FULL)
    arguments = ["import", "vmanomaly", str(source), "--out", str(target)]
    assert CliRunner().invoke(main, arguments).exit_code == 1, "something has no equivalent"
    config = load_file(target, env={"VM_URL": "http://vm:8428", "TOKEN": "t"})
    assert [query.name for query in config.queries] == ["load", "_5xx", "sunny"]
    assert "tenant_id" in target.read_text()
    assert CliRunner().invoke(main, arguments).exit_code == 2, "it is there already"
    source.write_text("[1, 2]")
    assert CliRunner().invoke(main, [*arguments, "--force"]).exit_code == 2


def test_a_day_that_is_none_is_named(tmp_path: Path) -> None:
    source = tmp_path / "vmanomaly.yml"
    source.write_text("reader:\n  since: 2026-13-45\n")
    refused = CliRunner().invoke(main, ["import", "vmanomaly", str(source)])
    assert refused.exit_code == 2
    assert "line 2" in refused.output
