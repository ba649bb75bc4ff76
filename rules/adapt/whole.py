"""What the values of an expression cannot exceed, as far as its text tells: no alert fires beyond it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import promql_parser as promql

from sidecar.promql.share import KEEPS_RANGE, is_share
from sidecar.promql.syntax import Syntax, bare, selectors
from sidecar.promql.threshold import COMPARISONS, Comparison, number, parse_comparison


@dataclass(frozen=True)
class _Whole(Syntax):
    """An expression, and what no quantile of a histogram in it goes beyond."""

    last_bucket: float = math.inf


OVER_TIME = frozenset(f"{name}_over_time" for name in ("avg", "min", "max", "last"))
QUANTILE = "histogram_quantile"
ONE = frozenset(("absent", "absent_over_time", "present_over_time"))

_CONDITION = re.compile(r"(and|unless)\s+(?:(?:on|ignoring)\s*\([^)]*\)\s*)?(.*)", re.DOTALL)


def tier_end(comparison: Comparison) -> float:
    """Where a condition of the rule itself ends what it tells of; infinite (on the bad side) where none does.

    >>> tier_end(Comparison("x", ">", 80.0, ("and x < 95",))), tier_end(Comparison("x", ">", 80.0))
    (95.0, inf)
    >>> tier_end(Comparison("x", "<", 10.0, ("unless on (job) x <= 5",)))
    5.0
    """
    sign = 1 if comparison.above else -1
    ends = [math.inf]
    for text in comparison.conditions:
        found = _CONDITION.match(text)
        other = parse_comparison(found[2]) if found else None
        if found and isinstance(other, Comparison) and other.measured == comparison.measured:
            further = other.ordered and other.above == comparison.above
            if other.ordered and further == (found[1] == "unless"):
                ends.append(sign * other.threshold)
    return sign * min(ends)


def most_of(comparison: Comparison, last_bucket: float = math.inf) -> float:
    """The greatest value that what is compared can have; infinite where its text tells of none.

    Told is what holds for measures that are never negative; whoever asks has their values to see that by.
    A quotient that is held against a number up to 1 is taken for a part of a whole. `last_bucket`: what no
    quantile of a histogram in it goes beyond.

    >>> most_of(Comparison("100 * (1 - free_bytes / size_bytes)", ">", 95.0))
    100.0
    >>> most_of(Comparison("used_bytes / size_bytes", ">", 0.9)), most_of(Comparison("absent(up)", ">", 0.0))
    (1.0, 1.0)
    >>> most_of(Comparison("100 * used / size", ">", 90.0))
    100.0
    >>> most_of(Comparison("load / cores", ">", 2.0)), most_of(Comparison("time() % 3600", ">", 60.0))
    (inf, 3600.0)
    >>> most_of(Comparison("1000 * histogram_quantile(0.99, took_bucket)", ">", 500.0), last_bucket=10.0)
    10000.0
    """
    try:
        parsed = Syntax.parse(comparison.measured)
    except ValueError:
        return math.inf
    syntax = _Whole(parsed.tree, parsed.strings, parsed.names, last_bucket=last_bucket)
    most = _most(syntax, syntax.tree)
    if math.isinf(most) and comparison.threshold <= 1 and _is_quotient(syntax.tree):
        return 1.0
    return most


def _most(syntax: _Whole, node: promql.Expr) -> float:
    node = bare(node)
    known = number(node)
    if known is not None:
        return known
    if isinstance(node, promql.AggregateExpr):
        return _most(syntax, node.expr) if str(node.op) in KEEPS_RANGE else math.inf
    if isinstance(node, promql.Call):
        return _most_of_call(syntax, node)
    if isinstance(node, promql.MatrixSelector | promql.SubqueryExpr):
        return _most(syntax, node.vector_selector if isinstance(node, promql.MatrixSelector) else node.expr)
    if isinstance(node, promql.VectorSelector):
        return 1.0 if node.name == "up" or is_share(syntax.text(node)) else math.inf
    if isinstance(node, promql.BinaryExpr):
        return _most_of_pair(syntax, node)
    return math.inf


def _most_of_call(syntax: _Whole, node: promql.Call) -> float:
    name = str(node.func.name)
    if name in ONE:
        return 1.0
    if name == QUANTILE:
        return syntax.last_bucket
    return _most(syntax, node.args[0]) if name in OVER_TIME else math.inf


def _most_of_pair(syntax: _Whole, node: promql.BinaryExpr) -> float:
    """Of what is left of a number, of its multiples, of shares, and of comparisons that give 0 and 1."""
    sign, left, right = str(node.op), number(node.lhs), number(node.rhs)
    if sign in COMPARISONS:
        as_bool = node.modifier is not None and node.modifier.return_bool
        return 1.0 if as_bool else _most(syntax, node.lhs)
    if sign == "-":
        return left if left is not None else math.inf
    if sign == "%":
        return abs(right) if right else math.inf
    if sign == "*" and left is not None and left > 0:
        return left * _part(syntax, node.rhs, left)
    if sign == "*" and right is not None and right > 0:
        return right * _part(syntax, node.lhs, right)
    if sign == "/" and right is not None and right > 0:
        return _most(syntax, node.lhs) / right
    if sign == "/" and _is_hundredfold(node.lhs) and selectors(node.rhs):
        return 100.0
    return 1.0 if is_share(syntax.text(node)) else math.inf


def _part(syntax: _Whole, node: promql.Expr, factor: float) -> float:
    """A quotient a hundred times is a percentage; with any other factor nobody knows."""
    most = _most(syntax, node)
    return 1.0 if math.isinf(most) and factor == 100 and _is_quotient(node) else most


def _is_hundredfold(node: promql.Expr) -> bool:
    node = bare(node)
    return (
        isinstance(node, promql.BinaryExpr)
        and str(node.op) == "*"
        and 100 in (number(node.lhs), number(node.rhs))
    )


def _is_quotient(node: promql.Expr) -> bool:
    node = bare(node)
    if isinstance(node, promql.AggregateExpr):
        return str(node.op) in KEEPS_RANGE and _is_quotient(node.expr)
    return (
        isinstance(node, promql.BinaryExpr)
        and str(node.op) == "/"
        and bool(selectors(node.lhs))
        and bool(selectors(node.rhs))
    )
