"""Thresholds replaced in expressions as people write them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.read import WrittenRule, read_text, taken_apart, unit_of
from rules.rewrite import with_bound, with_threshold
from sidecar.errors import RuleError
from sidecar.promql.threshold import Comparison, parse_comparison

EXPRESSIONS = [
    "node_load1 > 4",
    "4 < node_load1",
    'a{x="5 > 3", y=~`\\d+ > 7`} > 5 # not 5',
    "max_over_time(a[1h:]) > 5",
    "rate(errors_total[5m]) / rate(asked_total[5m]) > 0.05 and on () hour() > 6",
    "a5 * 5 + 5 > 5",
    "free_bytes < 5 * 1024 * 1024",
    "(a > 5)",
    "a - 3 > -7",
    "a offset 5m > 0x10",
    "predict_linear(free[6h], 4 * 3600) < 0",
    "histogram_quantile(0.95, sum by (le) (rate(b_bucket[5m]))) >= 1e-3",
    "a > 5 unless on () b < 5",
    'a{code=~"5[0-9]{2}"} > 5 and on () b{c="d"} > 5',
    'sum by ("http.route.5") (rate({"errors > 5", "http.route"=~"/5 > 3"}[5m])) > 5 and on ("k.5") b > 5',
]


@pytest.mark.parametrize("expr", EXPRESSIONS)
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_only_the_threshold_changes(expr: str, value: float) -> None:
    before = parse_comparison(expr)
    assert isinstance(before, Comparison)
    after = parse_comparison(with_threshold(expr, value))
    assert after == replace(before, threshold=value)


@pytest.mark.parametrize(
    ("expr", "after"),
    [
        pytest.param(
            'a{x="5 > 3"} > 5 # not 5', 'a{x="5 > 3"} > 0.1 # not 5', id="strings and comments stay"
        ),
        pytest.param("free < 5 * 1024", "free < 0.1", id="arithmetic as a whole"),
        pytest.param(
            "max_over_time(a[1h:]) > 5",
            "max_over_time(a[1h:]) > 0.1",
            id="what the parser's writer would lose",
        ),
    ],
)
def test_as_it_was_written(expr: str, after: str) -> None:
    assert with_threshold(expr, 0.1) == after


def test_a_bound_of_promql_goes_into_the_thresholds_place() -> None:
    assert with_bound("a > 5 and on () b", "on () group_left () (vector(1))") == (
        "a > on () group_left () (vector(1)) and on () b"
    )
    with pytest.raises(ValueError, match="left of"):
        with_bound("5 < a", "(1)")


@pytest.mark.parametrize("expr", ["a > (5)", "a > ( (5) )", "a > (-5)", "a > (3 * 10)"])
def test_parentheses_around_a_threshold_go_with_it(expr: str) -> None:
    bound = "on () group_left () (vector(1) or vector(2))"
    assert with_bound(f"{expr} and on () b", bound) == f"a > {bound} and on () b"
    assert with_bound(f"({expr})", bound) == f"(a > {bound})"


@pytest.mark.parametrize("expr", ["a > 5 % 3", "a > 7 % 100"])
def test_what_is_put_in_a_thresholds_place_takes_its_arithmetic_too(expr: str) -> None:
    assert with_bound(expr, "(1 + hour())") == "a > (1 + hour())"


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        pytest.param("absent(up)", "no", id="no comparison"),
        pytest.param("a > b", "not with a number", id="two series"),
        pytest.param("up == 0", "a state", id="a state"),
        pytest.param("a > 1 or b > 2", "several", id="or"),
        pytest.param("a > bool 1", "bool", id="bool"),
        pytest.param("a >", "not PromQL", id="broken"),
        pytest.param("max_over_time(a[1h:1m] @end ( )) > 1", "one moment", id="the end of the question"),
    ],
)
def test_why_it_cannot_be_adapted(expr: str, words: str) -> None:
    why = taken_apart(WrittenRule("A", expr, "alerting"))
    assert isinstance(why, str)
    assert words in why


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        pytest.param({"pronoia": "ignore"}, "it carries the label pronoia: ignore", id="protected"),
        pytest.param({"generator": "pronoia"}, "pronoia itself wrote it", id="generated"),
        pytest.param({"pronoia_canary": "true"}, "pronoia itself wrote it", id="a shadow"),
    ],
)
def test_rules_that_are_left_alone_for_their_labels(labels: dict[str, str], why: str) -> None:
    assert taken_apart(WrittenRule("A", "a > 1", "alerting", labels=labels)) == why


GROUP = """
- name: g
  interval: 30s
  rules:
    - alert: A
      expr: a > 1
      for: 5m
      keep_firing_for: 1h
      labels: {severity: page, tier: 1}
    - {record: r, expr: sum(a)}
"""


@pytest.mark.parametrize(
    ("text", "own_name"),
    [
        pytest.param("groups:" + GROUP, "", id="rule file"),
        pytest.param(
            "kind: PrometheusRule\nmetadata: {namespace: n, name: o}\nspec:\n  groups:"
            + GROUP.replace("\n", "\n  "),
            "n/o",
            id="PrometheusRule",
        ),
    ],
)
def test_read(text: str, own_name: str) -> None:
    assert {rule.file for rule in read_text(text)} == {own_name}
    alert, record = read_text(text, "here.yaml")
    assert (alert.name, alert.for_seconds, alert.keep_firing_seconds) == ("A", 300, 3600)
    assert (alert.labels["tier"], alert.interval_seconds, alert.file) == ("1", 30, "here.yaml")
    assert (record.kind, record.expr) == ("recording", "sum(a)")


@pytest.mark.parametrize("text", ["[]", "groups: [{name: g, rules: [{expr: a}]}]", "a: b", "{"])
def test_what_is_no_rule_file_says_where(text: str) -> None:
    with pytest.raises(RuleError, match=r"here\.yaml"):
        read_text(text, "here.yaml")


@pytest.mark.parametrize(
    ("expr", "unit"),
    [
        ("node_filesystem_free_bytes < 1", "bytes"),
        ("rate(a_total[5m]) > 1", "events per second"),
        ("a_total / b_total > 1", "ratio"),
        ("a > 1", ""),
    ],
)
def test_units(expr: str, unit: str) -> None:
    comparison = parse_comparison(expr)
    assert isinstance(comparison, Comparison)
    assert unit_of(comparison) == unit
