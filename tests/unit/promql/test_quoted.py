"""Names in quotes, as Prometheus 3 has them and OpenTelemetry needs them."""

from __future__ import annotations

import json
from pathlib import Path

import promql_parser as promql
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rules.document import as_yaml
from rules.read import WrittenRule, taken_apart
from rules.rewrite import with_threshold
from rules.validate import ONLY_PROMTOOL, check
from rules.verify import canonical
from sidecar.errors import RuleError
from sidecar.prometheus.selector import plain_matchers, selector_of
from sidecar.promql.breakdown import Breakdown
from sidecar.promql.clock import as_distance
from sidecar.promql.quoted import written
from sidecar.promql.syntax import Syntax, selectors
from sidecar.promql.threshold import Comparison, parse_comparison

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
ODD = 'sum by ("http.route", job) (rate({"http.errors", "http.route"=~"/a.*", code!="5"}[5m]))'


def quoted(name: str) -> str:
    """As Prometheus writes it."""
    return json.dumps(name, ensure_ascii=False)


@given(metric=NAMES, label=NAMES, group=NAMES, value=NAMES)
@example(metric="on", label="by", group="NaN", value="{2}")
def test_what_is_taken_apart_says_what_was_written(metric: str, label: str, group: str, value: str) -> None:
    expr = (
        f"sum by ({quoted(group)}) ({{{quoted(metric)}, {quoted(label)}!={quoted(value)}}})"
        f" > 5 unless on ({quoted(group)}) b"
    )
    found = parse_comparison(expr)
    assert isinstance(found, Comparison)
    syntax = Syntax.parse(found.measured)
    again = Syntax.parse(syntax.text(syntax.tree))
    assert again.text(again.tree) == found.measured
    assert isinstance(again.tree, promql.AggregateExpr)
    assert isinstance(again.tree.expr, promql.VectorSelector)
    assert again.labels(again.tree.modifier.labels) == [group]  # type: ignore[union-attr]
    assert again.metric(again.tree.expr) == metric
    (matcher,) = (one for one in again.tree.expr.matchers.matchers if one.name != "__name__")
    assert again.labels([matcher.name]) == [label]
    assert again.restored(f'"{matcher.value}"') == quoted(value)
    assert canonical(expr) == canonical(f"{found.measured} > 5 {found.conditions[0]}")
    assert with_threshold(expr, 7.0) == expr.replace(" > 5 ", " > 7 ", 1) or " > 5 " in metric + label + value


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        pytest.param('{"up"}', '{__name__="up"}', id="a metric"),
        pytest.param('{a="b", "my.metric"}', '{a="b",__name__="my.metric"}', id="behind a matcher"),
        pytest.param("{'a.b'='c'}", "{\"a.b\"='c'}", id="single quotes"),
        pytest.param("sum without (`a.b`, 'c') (x)", 'sum without ("a.b", "c")(x)', id="raw"),
        pytest.param('a * on ("k.l") group_left ("m.n") b', 'a * on ("k.l") group_left ("m.n") b', id="join"),
        pytest.param('count_values("a.b", x)', 'count_values("a.b", x)', id="an argument is no name"),
        pytest.param('x{a="b", c=~"d"} # {"e"}', 'x{a="b",c=~"d"}', id="values are no names"),
    ],
)
def test_how_it_is_written_again(expr: str, text: str) -> None:
    syntax = Syntax.parse(expr)
    assert " ".join(syntax.text(syntax.tree).split()) == text


def test_a_rule_with_them_can_be_adapted() -> None:
    found = taken_apart(WrittenRule("A", f"{ODD} > 5", "alerting"))
    assert isinstance(found, Comparison)
    assert Syntax.parse(found.measured).labels(["pronoia_quoted_0_"]) == ["http.route"]
    assert selectors(Syntax.parse(found.measured).tree) == [""]


def test_it_is_split_by_one_and_narrowed_by_one() -> None:
    found = Breakdown.of(ODD, {"http.route": "/a", "job": "shop"})
    assert found is not None
    assert found.by("k.l").startswith('sum by ("http.route", job, "k.l") (')
    assert '"http.route"="/a"' in found.selectors[0]


def test_what_follows_the_clock_keeps_them() -> None:
    table = 'a > on ("k.l") group_left () (vector(5) and on () hour() < 8)'
    assert 'on ("k.l")' in str(as_distance(table))


@given(NAMES)
def test_a_selector_is_made_of_them(label: str) -> None:
    selector = selector_of([(label, "=", "x")])
    assert plain_matchers(selector) == [(label, "=", "x")]
    assert written(label) in selector


def test_prometheus_prints_what_needs_no_quotes_without() -> None:
    assert canonical('{"up", "job"="a"}') == canonical('up{job="a"}')
    assert canonical('{"my.up", b="c"}') == canonical("{b='c', \"my.up\"}") != canonical('{"my.down",b="c"}')


@pytest.mark.parametrize("expr", [f"{ODD} > 5", '{"up"} == 0'])
async def test_what_no_promtool_could_check_is_not_published(expr: str, tmp_path: Path) -> None:
    text = as_yaml({"groups": [{"name": "g", "rules": [{"alert": "A", "expr": expr}]}]})
    old = tmp_path / "promtool"
    old.write_text("#!/bin/sh\necho unexpected string; exit 1\n")
    old.chmod(0o755)
    for promtool, words in (("no-such-promtool", "is not on PATH"), (str(old), "unexpected string")):
        with pytest.raises(RuleError, match=f"{words}.*{ONLY_PROMTOOL}"):
            await check(text, promtool=promtool)
    with pytest.raises(RuleError) as caught:
        await check(text.replace(expr, "up == 0"), promtool=str(old))
    assert ONLY_PROMTOOL not in str(caught.value)
