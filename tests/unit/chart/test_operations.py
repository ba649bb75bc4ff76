"""What the chart ships for operating pronoia: dashboards that ask for what exists, alerts with runbooks."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from promql_parser import parse

from rules.generate.packs import load_pack
from tests.unit.chart.helm_chart import CHART, ROOT, ci, of_kind, only, render
from tools import chart_operations

pytestmark = pytest.mark.integration

DASHBOARDS = sorted((CHART / "dashboards").glob("*.json"))
HISTOGRAM = re.compile(r"_(bucket|count|sum)$")


def asks(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_files_are_what_the_generator_writes() -> None:
    for name, text in chart_operations.files().items():
        assert (CHART / name).read_text() == text, "run: python -m tools.chart_operations"
    assert len(DASHBOARDS) == 2


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_for_metrics_that_exist(path: Any) -> None:
    dashboard = json.loads(path.read_text())
    known = set(re.findall(r"^\| `(pronoia_[a-z_]+)`", (ROOT / "docs" / "metrics.md").read_text(), re.M))
    for expr in asks(dashboard):
        parse(expr.replace("$__range", "6h"))
        for name in re.findall(r"\bpronoia_[a-z_]+", expr):
            assert name in known or HISTOGRAM.sub("", name) in known, name


def test_all_jobs_are_pronoias_jobs() -> None:
    """`up` and `process_…` are every target's: for them, "All" must not be any job."""
    (_, job) = json.loads((CHART / "dashboards" / "pronoia-self.json").read_text())["templating"]["list"]
    assert "allValue" not in job
    assert job["query"]["query"] == "label_values(pronoia_build_info, job)"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboards_panels_do_not_overlap(path: Any) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(path.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {(x, place["y"]) for x in range(place["x"], place["x"] + place["w"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_config_map_carries_the_dashboards() -> None:
    found = [
        each for each in render(values=ci("dashboards")) if each["metadata"]["name"].endswith("-dashboards")
    ]
    (each,) = found
    assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert {name: json.loads(text)["uid"] for name, text in each["data"].items()} == {
        "pronoia-self.json": "pronoia-self",
        "pronoia-series.json": "pronoia-series",
    }


def test_the_rule_object_carries_the_alerts_untouched() -> None:
    rule = only(render(values=ci("alerts")), "PrometheusRule")
    assert rule["spec"] == yaml.safe_load(load_pack("self").file().text)
    assert rule["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def test_an_alert_can_be_left_out() -> None:
    off = ("--set", "alerts.disabled={PronoiaTooManyAlarms}")
    (group,) = only(render(*off, values=ci("alerts")), "PrometheusRule")["spec"]["groups"]
    left = load_pack("self").alert_names - {rule["alert"] for rule in group["rules"]}
    assert left == {"PronoiaTooManyAlarms"}


def test_of_alerts_that_are_all_left_out_no_object_remains() -> None:
    """The operator refuses a group whose rules are null."""
    off = ("--set", f"alerts.disabled={{{','.join(sorted(load_pack('self').alert_names))}}}")
    assert not of_kind(render(*off, values=ci("alerts")), "PrometheusRule")


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    page = (ROOT / "docs" / "runbooks.md").read_text()
    assert re.findall(r"^## (Pronoia\w+)$", page, re.M) == [rule["alert"] for rule in load_pack("self").rules]
    named = set(re.findall(r"\bPronoia[A-Z]\w+", "\n".join(path.read_text() for path in DASHBOARDS)))
    assert named <= {rule["alert"] for rule in load_pack("self").rules}
