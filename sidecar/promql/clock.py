"""A threshold that follows the clock, as a table by hour does: what is measured less it, compared with 0."""

from __future__ import annotations

import promql_parser as promql

from sidecar.promql.nesting import parse
from sidecar.promql.syntax import Syntax, bare, selectors
from sidecar.promql.threshold import number

_ORDERED = frozenset((">", ">=", "<", "<="))
_MANY_TO_ONE = promql.VectorMatchCardinality.ManyToOne


def as_distance(expr: str) -> str | None:
    """The expression with the distance from its threshold compared with 0; None for any other threshold.

    >>> as_distance("load > on () group_left () (vector(5) and on () (hour() < 8) or vector(9)) and up")
    '(load) - on () group_left () (vector(5) and on () (hour() < 8) or  vector(9)) > 0 and  up'
    >>> as_distance("load > 5") is None
    True
    """
    try:
        syntax = Syntax.parse(expr)
    except ValueError:
        return None
    node, conditions = bare(syntax.tree), ""
    while isinstance(node, promql.BinaryExpr) and str(node.op) in ("and", "unless"):
        conditions = syntax.text(node)[len(syntax.text(node.lhs)) :] + conditions
        node = bare(node.lhs)
    if not isinstance(node, promql.BinaryExpr) or str(node.op) not in _ORDERED or not _by_clock(node):
        return None
    matching = f" {syntax.restored(str(node.modifier))}" if node.modifier is not None else ""
    measured, threshold = (syntax.text(bare(side)) for side in (node.lhs, node.rhs))
    return f"({measured}) -{matching} ({threshold}) {node.op} 0{conditions}"


def is_distance(measured: str) -> bool:
    """Whether something is measured less what follows the clock.

    >>> is_distance("(load) - on () group_left () (vector(5) + hour())"), is_distance("load - 5")
    (True, False)
    """
    try:
        node = bare(parse(measured))
    except ValueError:
        return False
    return isinstance(node, promql.BinaryExpr) and str(node.op) == "-" and _by_clock(node)


def _by_clock(node: promql.BinaryExpr) -> bool:
    """Whether the right side selects no series, is no number, and is one value for all on the left."""
    if selectors(node.rhs) or number(node.rhs) is not None or not selectors(node.lhs):
        return False
    if node.modifier is None:
        return _is_scalar(node.rhs)
    return node.modifier.card == _MANY_TO_ONE and not node.modifier.return_bool


def _is_scalar(node: promql.Expr) -> bool:
    node = bare(node)
    if isinstance(node, promql.BinaryExpr):
        return _is_scalar(node.lhs) and _is_scalar(node.rhs)
    if isinstance(node, promql.Call):
        return node.func.name in ("time", "scalar", "pi")
    return isinstance(node, promql.NumberLiteral) or number(node) is not None
