"""Unit tests of rewrites: promtool finds the alert where the value lies beyond the number, nowhere else."""

from __future__ import annotations

import pytest

from rules.adapt.made_series import series_for
from rules.adapt.proof import unit_tests
from rules.document import as_yaml
from rules.read import WrittenRule
from rules.validate import run_tests
from tests.integration.servers import binary
from tests.unit.rules.test_plan import adapted

FILE = "own.rules.yaml"

EXPRESSIONS = [
    "load > 5",
    'load{a="it\'s",b!="x"} < 5',
    "sum by (service) (rate(asked_total[5m])) > 250",
    'sum(rate(failed_total{code=~"5..|429"}[10m])) * 60 > 2',
    "increase(restarts_total[1h]) >= 3",
    "100 - avg by (node) (rate(idle_total[5m])) * 100 > 90",
    "avg_over_time(queue_depth[15m]) / 1000 > 0.5",
    'sum by (edge) (rate(asked_total{code="503"}[5m])) / sum by (edge) (rate(asked_total[5m])) > 0.0042',
    'sum(rate(paid_total{result="declined",shop="a"}[10m])) / sum(rate(paid_total{shop="a"}[10m])) > 0.05',
    "max without (pod) (temperature) > -3",
]


async def test_promtool_agrees_on_every_form() -> None:
    rules = [WrittenRule(f"Rule{n}", expr, "alerting", "own") for n, expr in enumerate(EXPRESSIONS)]
    numbers = [5.0, 5.0, 250.0, 2.0, 3.0, 90.0, 0.5, 0.0042, 0.05, -3.0]
    rewrites = [adapted(rule, value) for rule, value in zip(rules, numbers, strict=True)]
    tests = unit_tests(rewrites, FILE)
    assert tests is not None
    assert tests.count("exp_samples") == 2 * len(rules), "one that fires and one that does not, of each"
    entries = [{"alert": one.rule.name, "expr": one.written.expr} for one in rewrites]
    text = as_yaml({"groups": [{"name": "own", "rules": entries}]})
    assert await run_tests(text, tests, rule_file=FILE, promtool=binary("promtool")) == "passed"


@pytest.mark.parametrize(
    ("expr", "held", "at"),
    [
        pytest.param("load > 5", 0.0, "10m", id="at once"),
        pytest.param("load > 5", 4 * 3600.0, "250m", id="held for hours"),
        pytest.param('rate(x_total{a="[9x]"}[1h30m]) > 5', 600.0, "110m", id="a long range"),
        pytest.param("load > 5", 7 * 3600.0, None, id="longer than the series"),
    ],
)
def test_it_looks_when_the_alert_has_begun(expr: str, held: float, at: str | None) -> None:
    rule = WrittenRule("Load", expr, "alerting", "own", for_seconds=held)
    tests = unit_tests([adapted(rule, 5.0)], FILE)
    assert (tests is None) == (at is None)
    assert at is None or f"eval_time: {at}" in (tests or "")


@pytest.mark.parametrize(
    "expr",
    [
        pytest.param("histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))", id="histogram"),
        pytest.param("a / b", id="two metrics"),
        pytest.param(
            'sum by (code) (rate(x{code="5"}[5m])) / sum by (code) (rate(x[5m]))', id="grouped by it"
        ),
        pytest.param("sum(rate(x[5m])) / sum(rate(x[5m]))", id="all of all"),
        pytest.param("rate(x[1m])", id="too short for two samples"),
        pytest.param("x offset 1d", id="offset"),
        pytest.param('x{a!~"b.*"}', id="a pattern that must not match"),
        pytest.param("quantile(0.9, x)", id="quantile"),
        pytest.param("count(x)", id="count"),
    ],
)
def test_other_forms_have_none(expr: str) -> None:
    assert series_for(expr, 0.5) is None
