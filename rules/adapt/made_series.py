"""Series for a unit test in which an expression has a wanted value; none for what is beyond the usual forms.

The usual forms are selectors, rates and averages over time of them, sums and the like of these, arithmetic
with a number, quantiles of histograms, and two of these put together (`rules.adapt.made_pairs`).
"""

from __future__ import annotations

import re

import promql_parser as promql

from rules.adapt.made_pairs import Made, matched, paired, shown
from rules.rewrite import plain_number
from sidecar.prometheus.selector import selector_of
from sidecar.promql.nesting import parse
from sidecar.promql.syntax import bare
from sidecar.promql.threshold import number
from sidecar.series import LabelSet

N_SAMPLES = 1500
"""A day and an hour of them, one a minute."""

MINUTE_SECONDS = 60.0
SHORTEST_SECONDS = 120.0
"""A rate needs two samples, and there is one a minute."""

_CONSTANT = {"avg_over_time", "max_over_time", "min_over_time", "last_over_time"}
_AGGREGATES = {"sum", "avg", "max", "min"}


def series_for(expr: str, value: float) -> dict[str, str] | None:
    """Promtool's notation by series, with one sample a minute.

    >>> series_for('sum(rate(errors_total{code=~"5.."}[5m])) * 100', 2.0)
    {'errors_total{code="500"}': '0+1.2x1500'}
    """
    try:
        made = _make(parse(expr), value)
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
    if isinstance(node, promql.BinaryExpr):
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
    if node.func.name == "histogram_quantile":
        return _of_quantile(node, value)
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


def _of_quantile(node: promql.Call, value: float) -> Made | None:
    """All observations are in one bucket, which begins at zero: Prometheus takes them to be spread evenly."""
    share, counted = number(node.args[0]), node.args[1]
    made = _make(counted, 1.0)
    if share is None or not 0 < share <= 1 or value <= 0 or made is None or len(made) != 1:
        return None
    ((labels, values),) = made.items()
    buckets = [LabelSet({**labels, "le": edge}) for edge in (plain_number(value / share), "+Inf")]
    seen = shown(counted, buckets[0])
    if "le" in matched(counted) or seen is None or "le" not in seen:
        return None
    return dict.fromkeys(buckets, values)


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
    return paired(node, value, _make)


def _written(labels: LabelSet) -> str:
    others = [(name, "=", value) for name, value in labels.items() if name != "__name__"]
    return labels["__name__"] + (selector_of(others) if others else "")
