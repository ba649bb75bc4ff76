"""What the existing alert rules look at: the measured side of every comparison in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import promql_parser as promql

from sidecar.promql.syntax import Syntax, bare, children, selectors
from sidecar.promql.threshold import COMPARISONS

Direction = Literal["both", "above", "below"]

_DIRECTION: dict[str, Direction] = {">": "above", ">=": "above", "<": "below", "<=": "below"}
_OWN = re.compile(r"\b(pronoia[_:]|ALERTS\b|ALERTS_FOR_STATE\b)")


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
    syntax = Syntax.parse(expr)
    for side, direction in _comparisons(syntax.tree):
        text = syntax.text(side)
        if not _OWN.search(text):
            found.setdefault(text, Measured(text, direction))
    return list(found.values())


def _comparisons(node: promql.Expr) -> Iterator[tuple[promql.Expr, Direction]]:
    if isinstance(node, promql.BinaryExpr) and str(node.op) in COMPARISONS:
        # `0.1 < x < 0.9` is nested: what is measured stands at the bottom.
        inner = [*_comparisons(node.lhs), *_comparisons(node.rhs)]
        if inner:
            yield from inner
            return
        direction = _DIRECTION.get(str(node.op), "both")
        if selectors(node.lhs):
            yield bare(node.lhs), direction
        elif selectors(node.rhs):
            yield bare(node.rhs), {"above": "below", "below": "above"}.get(direction, "both")  # type: ignore[misc]
        return
    if isinstance(node, promql.BinaryExpr) and str(node.op) == "unless":
        yield from _comparisons(node.lhs)  # What excuses an alert is no symptom.
        return
    if isinstance(node, promql.Call) and node.func.name in ("absent", "absent_over_time"):
        return
    for child in children(node):
        yield from _comparisons(child)
