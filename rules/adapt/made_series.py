"""Series for a unit test in which an expression has a wanted value; none for what is beyond the usual forms.

The usual forms are selectors, rates and averages over time of them, sums and the like of these, arithmetic
with a number, and the share that some of a metric's series have of all of them.
"""

from __future__ import annotations

import re

import promql_parser as promql

from rules.rewrite import plain_number
from sidecar.prometheus.selector import selector_of
from sidecar.promql.syntax import bare
from sidecar.promql.threshold import number
from sidecar.series import LabelSet

N_SAMPLES = 400
MINUTE_SECONDS = 60.0
SHORTEST_SECONDS = 120.0
"""A rate needs two samples, and there is one a minute."""

OTHER = "other"
Made = dict[LabelSet, str]

_CONSTANT = {"avg_over_time", "max_over_time", "min_over_time", "last_over_time"}
_AGGREGATES = {"sum", "avg", "max", "min"}


def series_for(expr: str, value: float) -> dict[str, str] | None:
    """Promtool's notation by series, with one sample a minute.

    >>> series_for('sum(rate(errors_total{code=~"5.."}[5m])) * 100', 2.0)
    {'errors_total{code="500"}': '0+1.2x400'}
    """
    try:
        made = _make(promql.parse(expr), value)
    except ValueError:
        return None
    return None if made is None else {_written(labels): values for labels, values in made.items()}


def _make(node: promql.Expr, value: float) -> Made | None:
    node = bare(node)
    if isinstance(node, promql.VectorSelector):
        return _of_selector(node, f"{plain_number(value)}x{N_SAMPLES}")
    if isinstance(node, promql.Call):
        return _of_call(node, value)
    if isinstance(node, promql.AggregateExpr):
        return _make(node.expr, value) if str(node.op) in _AGGREGATES else None
    if isinstance(node, promql.BinaryExpr) and node.modifier is None:
        return _of_arithmetic(node, value)
    return None


def _of_selector(node: promql.VectorSelector, values: str) -> Made | None:
    if node.offset or node.at or not node.name or node.matchers.or_matchers:
        return None
    labels = {"__name__": node.name}
    for matcher in node.matchers.matchers:
        wanted = _matching(str(matcher.op).rpartition(".")[2], matcher.value)
        if wanted is None:
            return None
        if wanted:
            labels[matcher.name] = wanted
    return {LabelSet(labels): values}


def _matching(operator: str, value: str) -> str | None:
    """A label's value that a matcher takes; empty: none is needed; None: none was found."""
    if operator == "Equal":
        return value
    if operator == "NotEqual" and value:
        return ""
    if operator == "Re":
        simple = re.sub(r"\.[*+]?", "0", value.split("|")[0].strip("()"))
        return simple if re.fullmatch(value, simple) else None
    return None


def _of_call(node: promql.Call, value: float) -> Made | None:
    over = bare(node.args[0]) if len(node.args) == 1 else None
    if not isinstance(over, promql.MatrixSelector):
        return None
    seconds = over.range.total_seconds()
    if node.func.name in _CONSTANT:
        return _of_selector(over.vector_selector, f"{plain_number(value)}x{N_SAMPLES}")
    a_minute = {"rate": value * MINUTE_SECONDS, "increase": value * MINUTE_SECONDS / seconds}
    step = a_minute.get(node.func.name)
    if step is None or value <= 0 or seconds < SHORTEST_SECONDS:
        return None
    return _of_selector(over.vector_selector, f"0+{plain_number(step)}x{N_SAMPLES}")


def _of_arithmetic(node: promql.BinaryExpr, value: float) -> Made | None:
    operator, left, right = str(node.op), number(node.lhs), number(node.rhs)
    if right is not None:
        undone = {"+": value - right, "-": value + right, "/": value * right}
        if right and operator == "*":
            undone["*"] = value / right
        return _make(node.lhs, undone[operator]) if operator in undone else None
    if left is not None:
        undone = {"+": value - left, "-": left - value}
        if left and operator == "*":
            undone["*"] = value / left
        return _make(node.rhs, undone[operator]) if operator in undone else None
    return _share(node, value) if operator == "/" else None


def _share(node: promql.BinaryExpr, value: float) -> Made | None:
    """Of `sum(some) / sum(all)`, where the some are those of all with further labels."""
    some, of = bare(node.lhs), bare(node.rhs)
    if not (isinstance(some, promql.AggregateExpr) and isinstance(of, promql.AggregateExpr)):
        return None
    if str(some.op) != "sum" or str(of.op) != "sum" or _grouping(some) != _grouping(of):
        return None
    part, rest = _make(some, value), _make(of, 1 - value)
    if part is None or rest is None or len(part) != 1 or len(rest) != 1 or not 0 < value < 1:
        return None
    ((narrow, values),) = part.items()
    ((wide, remainder),) = rest.items()
    further = {name for name in narrow if name not in wide}
    by = _grouping(some)
    alike = all(narrow.get(name) == one for name, one in wide.items())
    if not further or not alike or by is None or further & set(by):
        return None
    return {narrow: values, LabelSet({**wide, **dict.fromkeys(further, OTHER)}): remainder}


def _grouping(node: promql.AggregateExpr) -> tuple[str, ...] | None:
    """Labels that are grouped by; None for `without`."""
    if node.modifier is None:
        return ()
    return tuple(node.modifier.labels) if str(node.modifier.type).endswith("By") else None


def _written(labels: LabelSet) -> str:
    others = [(name, "=", value) for name, value in labels.items() if name != "__name__"]
    return labels["__name__"] + (selector_of(others) if others else "")
