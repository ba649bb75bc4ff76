"""Series for a unit test of two expressions put together, so that their labels match.

These are shares (`sum(some) / sum(all)` of one metric), what is left of a whole (`(all - free) / all`),
and `+`, `-`, `*` and `/` of different metrics.
"""

from __future__ import annotations

from collections.abc import Callable

import promql_parser as promql

from sidecar.promql.syntax import bare, children, selectors
from sidecar.promql.threshold import number
from sidecar.series import LabelSet

OTHER = "other"

Made = dict[LabelSet, str]
"""Values in promtool's notation by series."""

Make = Callable[[promql.Expr, float], Made | None]
"""Series in which an expression has a value."""


def paired(node: promql.BinaryExpr, value: float, make: Make) -> Made | None:
    """Series in which `node`, of two expressions that select, has the value; None where no form is known."""
    if str(node.op) == "/" and node.modifier is None:
        found = _share(node, value, make) or _left_of(node, value, make)
        if found is not None:
            return found
    wanted = {
        "/": (value, 1.0),
        "*": (value, 1.0),
        "+": (value / 2, value / 2),
        "-": (value + 1 + abs(value), 1 + abs(value)),
    }.get(str(node.op))
    if wanted is None or set(selectors(node.lhs)) & set(selectors(node.rhs)):
        return None
    left, right = make(node.lhs, wanted[0]), make(node.rhs, wanted[1])
    return None if left is None or right is None else _matching(node, left, right)


def shown(node: promql.Expr, labels: LabelSet) -> LabelSet | None:
    """The labels that a series has in an expression's answer; None for what is made of two."""
    node = bare(node)
    if isinstance(node, promql.VectorSelector):
        return labels
    if isinstance(node, promql.MatrixSelector):
        return labels.without("__name__")
    if isinstance(node, promql.AggregateExpr):
        inner = shown(node.expr, labels)
        return None if inner is None else _grouped(node, inner)
    if isinstance(node, promql.Call):
        inner = shown(node.args[-1], labels)
        dropped = ("le",) if node.func.name == "histogram_quantile" else ()
        return None if inner is None else inner.without("__name__", *dropped)
    if isinstance(node, promql.BinaryExpr):
        series = [side for side in (node.lhs, node.rhs) if number(side) is None]
        inner = shown(series[0], labels) if len(series) == 1 else None
        return None if inner is None else inner.without("__name__")
    return None


def matched(node: promql.Expr) -> set[str]:
    """Names of the labels that selectors in the expression ask for."""
    if isinstance(node, promql.MatrixSelector):
        node = node.vector_selector
    if isinstance(node, promql.VectorSelector):
        return {matcher.name for matcher in node.matchers.matchers}
    return {name for child in children(node) for name in matched(child)}


def _grouped(node: promql.AggregateExpr, labels: LabelSet) -> LabelSet:
    if node.modifier is None:
        return LabelSet()
    if str(node.modifier.type).endswith("Without"):
        return labels.without("__name__", *node.modifier.labels)
    return LabelSet((name, one) for name, one in labels.items() if name in node.modifier.labels)


def _share(node: promql.BinaryExpr, value: float, make: Make) -> Made | None:
    """Of `sum(some) / sum(all)`, where the some are those of all with further labels."""
    some, of = bare(node.lhs), bare(node.rhs)
    if not (isinstance(some, promql.AggregateExpr) and isinstance(of, promql.AggregateExpr)):
        return None
    if str(some.op) != "sum" or str(of.op) != "sum" or _by(some) != _by(of):
        return None
    part, rest = make(some, value), make(of, 1 - value)
    if part is None or rest is None or len(part) != 1 or len(rest) != 1 or not 0 < value < 1:
        return None
    ((narrow, values),) = part.items()
    ((wide, remainder),) = rest.items()
    further = {name for name in narrow if name not in wide}
    by = _by(some)
    alike = all(narrow.get(name) == one for name, one in wide.items())
    if not further or not alike or by is None or further & set(by):
        return None
    return {narrow: values, LabelSet({**wide, **dict.fromkeys(further, OTHER)}): remainder}


def _by(node: promql.AggregateExpr) -> tuple[str, ...] | None:
    """Labels that are grouped by; None for `without`."""
    if node.modifier is None:
        return ()
    return tuple(node.modifier.labels) if str(node.modifier.type).endswith("By") else None


def _left_of(node: promql.BinaryExpr, value: float, make: Make) -> Made | None:
    """Of `(all - free) / all`."""
    taken = bare(node.lhs)
    if not isinstance(taken, promql.BinaryExpr) or str(taken.op) != "-" or taken.modifier is not None:
        return None
    if str(bare(taken.lhs)) != str(bare(node.rhs)) or set(selectors(taken.lhs)) & set(selectors(taken.rhs)):
        return None
    whole, free = make(taken.lhs, 1.0), make(taken.rhs, 1 - value)
    return None if whole is None or free is None else _matching(taken, whole, free)


def _matching(node: promql.BinaryExpr, left: Made, right: Made) -> Made | None:
    """Both sides' series, with the labels that the one lacks and the other is matched by."""
    ours, theirs = _only_shown(node.lhs, left), _only_shown(node.rhs, right)
    if ours is None or theirs is None:
        return None
    for name in sorted(_joined_on(node, {*ours, *theirs})):
        one, other = ours.get(name, ""), theirs.get(name, "")
        if one == other:
            continue
        if other:
            left = _labelled(left, name, other)
        else:
            right = _labelled(right, name, one)
        if (one and other) or name in matched(node.rhs if one else node.lhs):
            return None
    ours, theirs = _only_shown(node.lhs, left), _only_shown(node.rhs, right)
    if ours is None or theirs is None:
        return None
    same = all(ours.get(name, "") == theirs.get(name, "") for name in _joined_on(node, {*ours, *theirs}))
    return {**left, **right} if same else None


def _only_shown(node: promql.Expr, made: Made) -> LabelSet | None:
    """The labels of an expression's answer; None where there may be several series in it."""
    found = {shown(node, labels) for labels in made}
    return found.pop() if len(found) == 1 else None


def _joined_on(node: promql.BinaryExpr, names: set[str]) -> set[str]:
    matching = node.modifier.matching if node.modifier is not None else None
    if matching is None:
        return names - {"__name__"}
    stated = set(matching.labels)
    return stated if str(matching.type).endswith("Include") else names - stated - {"__name__"}


def _labelled(made: Made, name: str, value: str) -> Made:
    return {LabelSet({**labels, name: value}): values for labels, values in made.items()}
