"""Which expressions read a counter as if it were a gauge."""

from __future__ import annotations

import promql_parser as promql

from sidecar.promql.syntax import Syntax, children

COUNTERS = ("_total", "_count", "_sum", "_bucket")


def raw_counter(expr: str) -> str | None:
    """Name of a counter that an expression uses without a range function (`rate`, `increase` …), if any.

    Its growth says nothing and its resets look like drops: what is meant is its rate.
    None for what is not PromQL.
    """
    try:
        tree = Syntax.parse(expr).tree
    except ValueError:
        return None
    return _raw(tree)


def _raw(node: promql.Expr) -> str | None:
    if isinstance(node, promql.VectorSelector):
        name = node.name or ""
        return name if name.endswith(COUNTERS) else None
    if isinstance(node, promql.BinaryExpr) and str(node.op) in ("and", "unless"):
        return _raw(node.lhs)  # The other side only chooses.
    found = (_raw(child) for child in children(node))
    return next((name for name in found if name), None)
