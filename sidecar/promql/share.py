"""Which expressions are shares of a whole: what they give lies between 0 and 1."""

from __future__ import annotations

import re

import promql_parser as promql

from sidecar.promql.quoted import MATCHERS
from sidecar.promql.syntax import Syntax, bare, selectors

KEEPS_RANGE = ("avg", "min", "max", "quantile", "topk", "bottomk")
_MATCHERS = re.compile(MATCHERS)


def is_share(expr: str) -> bool:
    """Whether an expression is a ratio by name (`…_ratio`), or a part of a metric by all of it.

    `sum(rate(x{code=~"5.."}[5m])) / sum(rate(x[5m]))` is one, and so is 1 minus it; a
    quotient of two metrics is not, however it is called. False too for what is not PromQL.
    """
    try:
        syntax = Syntax.parse(expr)
    except ValueError:
        return False
    return _is_share(syntax, syntax.tree)


def _is_share(syntax: Syntax, node: promql.Expr) -> bool:
    node = bare(node)
    if isinstance(node, promql.AggregateExpr):
        return str(node.op) in KEEPS_RANGE and _is_share(syntax, node.expr)
    if isinstance(node, promql.VectorSelector):
        # Prometheus' naming: a ratio is a share of 1.
        return (node.name or "").endswith("_ratio")
    if isinstance(node, promql.BinaryExpr):
        if str(node.op) == "-":
            first = bare(node.lhs)
            return isinstance(first, promql.NumberLiteral) and first.val == 1 and _is_share(syntax, node.rhs)
        return str(node.op) == "/" and _is_part(
            syntax.text(node.lhs), syntax.text(node.rhs), selectors(node.rhs)
        )
    return False


def _is_part(part: str, whole: str, names: list[str]) -> bool:
    """Same shape, and every matcher of the whole is one of the part too; of one metric only."""
    if len(names) != 1 or not names[0] or _MATCHERS.sub("", part) != _MATCHERS.sub("", whole):
        return False

    def matchers(text: str) -> set[str]:
        found = _MATCHERS.search(text)
        return {one.strip() for one in found.group(0)[1:-1].split(",") if one.strip()} if found else set()

    return matchers(part) >= matchers(whole)
