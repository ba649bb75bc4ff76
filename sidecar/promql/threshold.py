"""The one comparison with a number that an alert rule's expression consists of."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import promql_parser as promql

from sidecar.promql.nesting import TooDeepError
from sidecar.promql.syntax import Syntax, bare, selectors

COMPARISONS = frozenset((">", ">=", "<", "<=", "==", "!="))
_MIRRORED = {">": "<", ">=": "<=", "<": ">", "<=": ">="}
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": math.pow,
    "%": math.fmod,
}


class NoComparison(StrEnum):
    """Why an expression has no threshold that could be taken apart."""

    NOT_PROMQL = "not_promql"
    TOO_DEEP = "too_deep"
    NO_COMPARISON = "no_comparison"
    SEVERAL = "several_comparisons"
    NOT_A_NUMBER = "threshold_is_not_a_number"
    NO_SERIES = "no_series"
    BOOL = "bool_modifier"


@dataclass(frozen=True, slots=True)
class Comparison:
    """`measured operator threshold`, as in `node_load1 > 4`; where `conditions` hold as well.

    `conditions`: the rest of an `and`/`unless`, each with its operator and matching
    (`and on (job) up == 1`). `metrics`: names that `measured` selects.
    """

    measured: str
    operator: str
    threshold: float
    conditions: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    @property
    def above(self) -> bool:
        """True where trouble lies above the threshold; meaningless for `==` and `!=`."""
        return self.operator.startswith(">")

    @property
    def ordered(self) -> bool:
        """True for a bound that a series can come near to: not `==`, not `!=`."""
        return self.operator in _MIRRORED


def parse_comparison(expr: str) -> Comparison | NoComparison:
    """The comparison of series with a number that decides an alert, or why there is none.

    The number may stand on either side and be arithmetic (`80 * 1024`). Conditions
    behind `and` and `unless` are kept as text; `or` joins alerts, so there are several.

    >>> parse_comparison("0.05 < rate(errors_total[5m]) and on () hour() > 6")
    Comparison(measured='rate(errors_total[5m])', operator='>', threshold=0.05, \
conditions=('and on () hour() > 6',), metrics=('errors_total',))
    >>> parse_comparison("absent(up)")
    <NoComparison.NO_COMPARISON: 'no_comparison'>
    """
    try:
        syntax = Syntax.parse(expr)
    except TooDeepError:
        return NoComparison.TOO_DEEP
    except ValueError:
        return NoComparison.NOT_PROMQL
    node, conditions = bare(syntax.tree), []
    while isinstance(node, promql.BinaryExpr) and str(node.op) in ("and", "unless"):
        # The writer puts operator and matching after the left side's text, whatever that is.
        conditions.append(syntax.text(node)[len(syntax.text(node.lhs)) :].strip())
        node = bare(node.lhs)
    if not isinstance(node, promql.BinaryExpr) or str(node.op) not in COMPARISONS:
        several = isinstance(node, promql.BinaryExpr) and str(node.op) == "or"
        return NoComparison.SEVERAL if several else NoComparison.NO_COMPARISON
    found = _taken_apart(node, syntax)
    if isinstance(found, NoComparison):
        return found
    measured, sign, threshold = found
    return Comparison(
        syntax.text(measured), sign, threshold, tuple(reversed(conditions)), tuple(selectors(measured))
    )


def _taken_apart(node: promql.BinaryExpr, syntax: Syntax) -> tuple[promql.Expr, str, float] | NoComparison:
    if node.modifier is not None and node.modifier.return_bool:
        return NoComparison.BOOL
    sign = str(node.op)
    left, right = number(node.lhs), number(node.rhs)
    if left is not None and right is not None:
        return NoComparison.NO_SERIES
    if right is not None:
        measured, threshold = bare(node.lhs), right
    elif left is not None:
        measured, threshold, sign = bare(node.rhs), left, _MIRRORED.get(sign, sign)
    else:
        return NoComparison.NOT_A_NUMBER
    if isinstance(measured, promql.BinaryExpr) and str(measured.op) in COMPARISONS:
        return NoComparison.SEVERAL
    if not selectors(measured):
        return NoComparison.NO_SERIES
    if not math.isfinite(threshold):
        return NoComparison.NOT_A_NUMBER
    return measured, sign, threshold


def number(node: promql.Expr) -> float | None:
    """The value of an expression of numbers alone; None where it selects or calls anything.

    >>> number(promql.parse("-(80 * 1024)"))
    -81920.0
    """
    node = bare(node)
    if isinstance(node, promql.NumberLiteral):
        return float(node.val)
    if isinstance(node, promql.UnaryExpr):
        inner = number(node.expr)
        return None if inner is None else -inner
    if isinstance(node, promql.BinaryExpr) and str(node.op) in _ARITHMETIC:
        left, right = number(node.lhs), number(node.rhs)
        if left is None or right is None:
            return None
        try:
            return float(_ARITHMETIC[str(node.op)](left, right))
        except (ArithmeticError, ValueError):
            return math.nan
    return None
