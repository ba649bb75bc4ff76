"""Unit tests of rewrites: promtool finds the alert where the value lies beyond the number, nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rules.adapt.bounds import Bound, ByHour, Trend
from rules.adapt.history import Adapted
from rules.adapt.made_series import series_for
from rules.adapt.proof import unit_tests
from rules.adapt.solve import Proposal
from rules.document import as_yaml
from rules.learn import Segment, Threshold
from rules.read import WrittenRule
from rules.rewrite import plain_number
from rules.validate import run_tests
from sidecar.prometheus.selector import selector_of
from sidecar.promql.threshold import Comparison, parse_comparison
from sidecar.series import LabelSet
from tests.integration.servers import binary
from tests.unit.rules.test_plan import adapted

FILE = "own.rules.yaml"
LOAD = WrittenRule("Load", "load > 5", "alerting", "own")

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
    "histogram_quantile(0.99, sum by (le) (rate(asked_seconds_bucket[5m]))) > 0.5",
    'histogram_quantile(0.5, sum by (le, service) (rate(asked_seconds_bucket{job="a"}[5m]))) * 1000 > 250',
    "histogram_quantile(0.9, queue_seconds_bucket) < 0.01",
    "rate(asked_seconds_sum[5m]) / rate(asked_seconds_count[5m]) > 0.2",
    'sum(rate(errors_total{code=~"5.."}[5m])) / sum(rate(requests_total[5m])) > 0.01',
    '1 - node_avail_bytes{fs!="tmpfs"} / node_size_bytes{fs!="tmpfs"} > 0.9',
    "(memory_total - memory_free) / memory_total * 100 > 85",
    'used{volume="a"} / on (volume) group_left (pool) size > 0.8',
    "sum by (job) (queued{kind='x'}) / ignoring (kind) sum by (job, kind) (workers) >= 30",
    "opened - closed < -40",
    "errors_in + on (pod) errors_out > 7",
]


def table(*hours: float, period: int = 24) -> ByHour:
    """Those numbers in turn, each for as many hours, over a day or a week."""
    each = period // len(hours)
    segments = (Segment(each * n, each * (n + 1), value) for n, value in enumerate(hours))
    return ByHour(Threshold(LabelSet(), period, tuple(segments)))


def by_hour(rule: WrittenRule, bound: Bound) -> Adapted:
    """The rule with that bound for its number."""
    one = adapted(rule)
    assert isinstance(one.outcome, Proposal)
    candidate = replace(one.outcome.candidate, bound=bound)
    written = replace(one.written, expr=bound.rewritten(rule.expr))
    return replace(one, outcome=replace(one.outcome, candidate=candidate), written=written)


async def passes(rewrites: Sequence[Adapted], *, every: int) -> None:
    """Promtool runs the tests of the rewrites, of each so many, and agrees with all."""
    tests = unit_tests(rewrites, FILE)
    assert not tests.left_out
    cases = yaml.safe_load(tests.text)["tests"]
    assert len(cases) == every * len(rewrites)
    looks = [look["exp_samples"] for case in cases for look in case["promql_expr_test"]]
    assert any(looks)
    assert not all(looks)
    entries = [
        {
            "alert": one.rule.name,
            "expr": one.written.expr,
            "for": f"{one.written.for_seconds:g}s",
            "labels": dict(one.rule.labels),
        }
        for one in rewrites
    ]
    text = as_yaml({"groups": [{"name": "own", "rules": entries}]})
    assert await run_tests(text, tests.text, rule_file=FILE, promtool=binary("promtool")) == "passed"


async def test_promtool_agrees_on_every_form() -> None:
    rules = [
        WrittenRule(f"Rule{n}", expr, "alerting", "own", for_seconds=60.0 * n)
        for n, expr in enumerate(EXPRESSIONS)
    ]
    found = [parse_comparison(expr) for expr in EXPRESSIONS]
    numbers = [one.threshold for one in found if isinstance(one, Comparison)]
    await passes([adapted(rule, value) for rule, value in zip(rules, numbers, strict=True)], every=2)


async def test_promtool_agrees_on_tables() -> None:
    def rule(name: str, expr: str, *, held: float = 0.0) -> WrittenRule:
        return WrittenRule(name, expr, "alerting", "own", for_seconds=held)

    rewrites = [
        by_hour(rule("ByDay", "sum by (edge) (rate(asked_total[5m])) > 5"), table(2.5, 40, 7, 7.5, 11, 3)),
        by_hour(rule("ByWeek", "load < 5", held=900.0), table(*range(1, 29), period=168)),
        by_hour(
            rule("Slow", "histogram_quantile(0.9, sum by (le) (rate(s_bucket[5m]))) > 1"), table(1e-3, 9e9)
        ),
    ]
    await passes(rewrites, every=4)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
NUMBERS = st.floats(1e-12, 1e12).map(lambda number: float(f"{number:.9g}"))
FORMS = st.sampled_from(
    [
        "{a} {op} {n}",
        "sum by (x) (rate({a}[5m])) {op} {n}",
        "histogram_quantile({q}, sum by (le, x) (rate({h}[10m]))) {op} {n}",
        "histogram_quantile({q}, {h}) * 1000 {op} {n}",
        "{a} / {b} {op} {n}",
        "sum(rate({a}[5m])) / sum(rate({b}[5m])) * 100 {op} {n}",
        "{a} / on (x) group_left (y) {b} {op} {n}",
        "{a} - {b} {op} {n}",
        "({a} - {b}) / {a} {op} {n}",
    ]
)


@st.composite
def rewrites(draw: st.DrawFn, name: str) -> Adapted:
    """A rule of one of the forms, with labels and numbers of any kind, rewritten."""
    selector = selector_of([("x", "=", draw(WORDS))])
    number = plain_number(draw(NUMBERS))
    expr = draw(FORMS).format(
        a="a" + selector,
        b="b" + draw(st.sampled_from(["", selector])),
        h="h_bucket" + selector,
        q=draw(st.sampled_from(["0.5", "0.99", "1"])),
        op=draw(st.sampled_from([">", "<", ">=", "<="])),
        n=number,
    )
    labels = {"team": draw(WORDS), "about": "{{ $labels.x }}"}
    rule = WrittenRule(name, expr, "alerting", "own", labels=labels)
    return adapted(rule, draw(NUMBERS))


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
async def test_promtool_agrees_whatever_the_numbers_and_labels(data: st.DataObject) -> None:
    await passes([data.draw(rewrites(f"Rule{n}")) for n in range(12)], every=2)


def test_few_tables_of_a_file_are_tested() -> None:
    many = [by_hour(replace(LOAD, name=f"Load{n}"), table(1, 2)) for n in range(5)]
    tests = unit_tests([*many, adapted(LOAD)], FILE)
    assert sorted(tests.left_out) == ["Load3", "Load4"]
    assert 'alertname="Load"' in tests.text


def test_rules_of_one_name_are_told_apart_by_their_labels() -> None:
    pair = [
        adapted(WrittenRule("Load", "load > 5", "alerting", "own", labels={"severity": severity}), value)
        for severity, value in (("warning", 5.0), ("page", 8.0))
    ]
    text = unit_tests(pair, FILE).text
    assert text.count('severity="page"') == text.count('severity="warning"') == 2


@pytest.mark.parametrize(
    ("expr", "held", "at"),
    [
        pytest.param("load > 5", 0.0, "30m", id="at once"),
        pytest.param("load > 5", 4 * 3600.0, "270m", id="held for hours"),
        pytest.param('rate(x_total{a="[9x]"}[1h30m]) > 5', 600.0, "120m", id="a long range"),
    ],
)
def test_it_looks_when_the_alert_has_begun(expr: str, held: float, at: str) -> None:
    rule = WrittenRule("Load", expr, "alerting", "own", for_seconds=held)
    assert f"eval_time: {at}" in unit_tests([adapted(rule, 5.0)], FILE).text


@pytest.mark.parametrize(
    ("one", "why"),
    [
        pytest.param(adapted(replace(LOAD, for_seconds=90_000.0)), "more than a day", id="for days"),
        pytest.param(adapted(replace(LOAD, expr="load > 5 and on () up")), "conditions", id="conditions"),
        pytest.param(adapted(replace(LOAD, expr="quantile(0.9, x) > 5")), "no series are known", id="form"),
        pytest.param(adapted(LOAD, joined=True), "a series", id="joined"),
        pytest.param(by_hour(LOAD, Trend(5.0, 0.001, 1.7e9, 1.8e9)), "1970", id="trend"),
        pytest.param(
            by_hour(replace(LOAD, for_seconds=7200.0), table(*range(1, 25))), "as it waits", id="table"
        ),
        pytest.param(
            by_hour(replace(LOAD, expr="load > 5 and on () up"), table(1, 2)), "conditions", id="of a table"
        ),
    ],
)
def test_why_there_is_none(one: Adapted, why: str) -> None:
    tests = unit_tests([one], FILE)
    assert not tests.text
    assert why in tests.left_out["Load"]


@pytest.mark.parametrize(
    "expr",
    [
        pytest.param("histogram_quantile(0.9, sum by (x) (rate(x_bucket[5m])))", id="no buckets"),
        pytest.param('histogram_quantile(0.9, rate(x_bucket{le!="+Inf"}[5m]))', id="some buckets"),
        pytest.param('a{x="1"} / b{x="2"}', id="labels that do not match"),
        pytest.param('a{x="1"} / b{x!="1"}', id="labels that must not match"),
        pytest.param('sum by (x) (a) / b{y="2"}', id="a label that cannot be given"),
        pytest.param("sum(a) / a", id="of itself"),
        pytest.param("a % b", id="modulo"),
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
