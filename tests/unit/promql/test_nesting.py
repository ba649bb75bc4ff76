"""How deep an expression may be nested: too deep for the parser's stack ends the whole process."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path

import promql_parser as promql
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.document import literal_expr
from rules.learn import Segment, Threshold
from rules.read import read_text, taken_apart
from rules.rewrite import with_bound
from rules.validate import parse as parse_rules
from sidecar.errors import RuleError
from sidecar.prometheus.selector import plain_matchers
from sidecar.promql.nesting import MAX_DEPTH, TooDeepError, depth, parse
from sidecar.promql.syntax import children
from sidecar.series import LabelSet

ROOT = Path(__file__).parents[3]
SMALL_STACK = 1 << 20
"""Of threads on musl, as Python's own images set it."""

Shape = Callable[[int], str]

SHAPES = [
    pytest.param(lambda n: "(" * n + "up" + ")" * n, id="parentheses"),
    pytest.param(lambda n: "-" * n + "up", id="signs"),
    pytest.param(lambda n: "up" + " + up" * n, id="sums"),
    pytest.param(lambda n: "up" + " OR up" * n, id="or"),
    pytest.param(lambda n: "up" + " ^ -up" * (n // 2), id="powers of what is signed"),
    pytest.param(lambda n: "abs(" * n + "up" + ")" * n, id="calls"),
    pytest.param(lambda n: "sum by (job) (" * n + "up" + ")" * n, id="aggregates"),
    pytest.param(lambda n: "max_over_time(" * n + "up" + "[5m:])" * n, id="subqueries"),
]
"""Expressions with so much of one thing in them."""


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_too_deep_never_reaches_the_parser(shape: Shape) -> None:
    with pytest.raises(TooDeepError, match=r"nested [0-9]+ deep, and up to 250 is read"):
        parse(shape(10_000))


@pytest.mark.parametrize("shape", SHAPES)
def test_the_deepest_that_is_read_fits_the_smallest_stack(shape: Shape) -> None:
    n = next(n for n in range(MAX_DEPTH, 0, -1) if depth(shape(n)) <= MAX_DEPTH)
    read: list[str] = []
    before = threading.stack_size(SMALL_STACK)
    try:
        thread = threading.Thread(target=lambda: read.append(str(parse(shape(n)))))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert read


def test_brackets_in_strings_and_comments_are_none() -> None:
    text = "(" * 300
    assert depth(f'up{{a="{text}"}} # {text}') == 1
    assert parse(f'up{{a="{text}"}} # {text}')


OPERATORS = ["+", "-", "*", "/", "^", "%", "and", "or", "unless", ">", "<=", "atan2"]
EXPRESSIONS = st.recursive(
    st.sampled_from(["up", "5", '{a="(("}', "rate(b[5m])", "c offset -5m"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(OPERATORS), inner).map(" ".join),
        inner.map("({})".format),
        inner.map("-{}".format),
        inner.map("sum by (job) ({})".format),
        inner.map("max_over_time(({})[5m:1m])".format),
    ),
    max_leaves=25,
)


@given(EXPRESSIONS)
def test_the_depth_is_never_told_too_small(expr: str) -> None:
    try:
        tree = parse(expr)
    except ValueError:
        return  # `5 and up`, say.
    assert _levels(tree) <= depth(expr) + 1


def _levels(node: promql.Expr) -> int:
    """Of the tree as the parser made it."""
    return 1 + max((_levels(child) for child in children(node)), default=0)


def test_a_table_by_hour_of_week_is_read() -> None:
    segments = tuple(Segment(hour, hour + 1, 1.0 + hour) for hour in range(168))
    table = literal_expr(Threshold(LabelSet(), 168, segments))
    parse(
        with_bound("sum by (job) (rate(asked_total[5m])) > 4 and on () up", f"on () group_left () ({table})")
    )


def test_the_rest_of_a_file_is_still_read() -> None:
    deep = "(" * 10_000 + "up" + ")" * 10_000
    text = f"""groups:
- name: own
  rules:
  - {{alert: Deep, expr: '{deep} > 5'}}
  - {{alert: Usual, expr: node_load1 > 4}}
"""
    first, second = (taken_apart(rule) for rule in read_text(text))
    assert first == "it is nested deeper than 250, and is not read"
    assert not isinstance(second, str)
    with pytest.raises(RuleError, match="up to 250 is read"):
        parse_rules(text)
    assert plain_matchers(deep) is None


def test_nobody_else_calls_the_parser() -> None:
    """Its other names are types; `parse` is behind the bound."""
    calling = re.compile(
        r"\bfrom promql_parser import .*\bparse\b|promql_parser\.parse\(|\bpromql\.parse\(", re.MULTILINE
    )
    found = {
        str(file.relative_to(ROOT))
        for room in ("sidecar", "rules", "webhooks", "exporters")
        for file in (ROOT / room).rglob("*.py")
        if calling.search(file.read_text("utf-8").replace(">>> number(promql.parse(", ""))
    }
    assert found == {"sidecar/promql/nesting.py"}
