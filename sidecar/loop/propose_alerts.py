"""What the existing alert rules look at: the measured side of every comparison in them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import promql_parser as promql

Direction = Literal["both", "above", "below"]

_DIRECTION: dict[str, Direction] = {">": "above", ">=": "above", "<": "below", "<=": "below"}
_COMPARISONS = frozenset((*_DIRECTION, "==", "!="))
_OWN = re.compile(r"\b(pronoia[_:]|ALERTS\b|ALERTS_FOR_STATE\b)")
_STRING = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`""")


@dataclass(frozen=True, slots=True)
class Measured:
    """An expression that somebody compares with a threshold, and on which side trouble lies."""

    expr: str
    direction: Direction


def measured(expr: str) -> list[Measured]:
    """The measured sides of the comparisons in an alert's expression, in order; empty if there is none.

    What is pronoia's own, or has no series in it, is left out.

    Raises: ValueError where the expression is not PromQL.

    >>> measured("rate(errors_total[5m]) / rate(requests_total[5m]) > 0.05 and on () hour() > 6")
    [Measured(expr='rate(errors_total[5m]) / rate(requests_total[5m])', direction='above')]
    >>> measured("100 > disk_free_bytes")
    [Measured(expr='disk_free_bytes', direction='below')]
    """
    found: dict[str, Measured] = {}
    literals: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        literal = match.group(0)
        if literal[0] == "`":  # Raw strings, whose backslashes the parser takes for escapes.
            literal = json.dumps(literal[1:-1], ensure_ascii=False)
        literals.append(literal)
        return f'"literal-{len(literals) - 1}"'

    # The parser's own writer loses the escapes inside strings, so they do not go through it.
    for side, direction in _comparisons(promql.parse(_STRING.sub(put_aside, expr))):
        text = _text(side)
        for n, literal in enumerate(literals):
            text = text.replace(f'"literal-{n}"', literal)
        if not _OWN.search(text):
            found.setdefault(text, Measured(text, direction))
    return list(found.values())


def selectors(node: promql.Expr) -> list[str]:
    """Names of the metrics that an expression selects; empty string for a selector without a name."""
    if isinstance(node, promql.VectorSelector):
        return [node.name or ""]
    if isinstance(node, promql.MatrixSelector):
        return selectors(node.vector_selector)
    return [name for child in _children(node) for name in selectors(child)]


def _comparisons(node: promql.Expr) -> Iterator[tuple[promql.Expr, Direction]]:
    if isinstance(node, promql.BinaryExpr) and str(node.op) in _COMPARISONS:
        # `0.1 < x < 0.9` is nested: what is measured stands at the bottom.
        inner = [*_comparisons(node.lhs), *_comparisons(node.rhs)]
        if inner:
            yield from inner
            return
        direction = _DIRECTION.get(str(node.op), "both")
        if selectors(node.lhs):
            yield _bare(node.lhs), direction
        elif selectors(node.rhs):
            yield _bare(node.rhs), {"above": "below", "below": "above"}.get(direction, "both")  # type: ignore[misc]
        return
    if isinstance(node, promql.BinaryExpr) and str(node.op) == "unless":
        yield from _comparisons(node.lhs)  # What excuses an alert is no symptom.
        return
    if isinstance(node, promql.Call) and node.func.name in ("absent", "absent_over_time"):
        return
    for child in _children(node):
        yield from _comparisons(child)


def _bare(node: promql.Expr) -> promql.Expr:
    while isinstance(node, promql.ParenExpr):
        node = node.expr
    return node


def _children(node: promql.Expr) -> list[promql.Expr]:
    if isinstance(node, promql.BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, promql.Call):
        return list(node.args)
    if isinstance(node, promql.AggregateExpr | promql.ParenExpr | promql.UnaryExpr | promql.SubqueryExpr):
        return [node.expr]
    return []


def _text(node: promql.Expr) -> str:
    # The parser writes a selector without matchers as `up{}`; people do not.
    return re.sub(r"(?<=[A-Za-z0-9_:])\{\}", "", str(node)).strip()
