"""An expression split by one more label, so that the parts sum up to the whole wherever they can."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import promql_parser as promql

from sidecar.promql.breakdown import ADDITIVE, Breakdown
from sidecar.promql.quoted import written
from sidecar.promql.syntax import Syntax, bare, selectors


@dataclass(frozen=True)
class PartsOfRatio:
    """`A / B`, whose parts are those of A by the whole of B: so they sum up to it.

    What each part's own ratio is says nothing of the whole: a path that is asked for twice an hour may fail
    every time, and one in twenty failures of the others is the incident.
    `every`: of `1 - A / B`, B taken apart; the parts are then those of what A lacks.
    """

    above: Breakdown
    below: str
    factor: str
    every: Breakdown | None
    additive: bool = True

    @property
    def selectors(self) -> tuple[str, ...]:
        """What is aggregated, narrowed to one series of the answer."""
        every = self.every.selectors if self.every is not None else ()
        return tuple(dict.fromkeys((*self.above.selectors, *every)))

    def by(self, label: str) -> str:
        """The expression, with what it aggregates split by `label`."""
        above = self.above.by(label)
        if self.every is not None:
            every = self.every.by(label)
            above = f"({every}) - (({above}) or 0 * ({every}))"
        split = f"({above}) / ignoring ({written(label)}) group_left () ({self.below})"
        return f"({split}) * {self.factor}" if self.factor else split


def parts_of(expr: str, labels: Mapping[str, str]) -> Breakdown | PartsOfRatio | None:
    """How the series of the answer with these labels splits; None where it does not.

    Raises: ValueError where the expression is not PromQL.
    """
    whole = Breakdown.of(expr, labels)
    if whole is None:
        return None
    syntax = Syntax.parse(expr)
    node, factor = _without_factor(syntax, bare(syntax.tree))
    ratio = _taken_from_one(node) or node
    if not isinstance(ratio, promql.BinaryExpr) or str(ratio.op) != "/":
        return whole
    above, below = (Breakdown.of(syntax.text(side), labels) for side in (ratio.lhs, ratio.rhs))
    if above is None or not _adds_up(syntax, ratio.lhs) or not _is_vector(ratio.rhs):
        return whole
    every = None
    if ratio is not node:
        if below is None or not _adds_up(syntax, ratio.rhs):
            return whole
        every = below
    return PartsOfRatio(above, syntax.text(ratio.rhs), factor, every)


def _without_factor(syntax: Syntax, node: promql.Expr) -> tuple[promql.Expr, str]:
    """What is multiplied by a number, and that number as it stands; empty where there is none."""
    if isinstance(node, promql.BinaryExpr) and str(node.op) == "*":
        for side, other in ((node.lhs, node.rhs), (node.rhs, node.lhs)):
            if isinstance(bare(side), promql.NumberLiteral):
                return bare(other), syntax.text(side)
    return node, ""


def _taken_from_one(node: promql.Expr) -> promql.Expr | None:
    """What is taken from 1: of an objective what is good by all, mostly."""
    if isinstance(node, promql.BinaryExpr) and str(node.op) == "-":
        one = bare(node.lhs)
        if isinstance(one, promql.NumberLiteral) and one.val == 1:
            return bare(node.rhs)
    return None


def _adds_up(syntax: Syntax, node: promql.Expr) -> bool:
    """Whether the parts of a value sum up to it, a factor aside."""
    node, _ = _without_factor(syntax, bare(node))
    return isinstance(node, promql.AggregateExpr) and str(node.op) in ADDITIVE


def _is_vector(node: promql.Expr) -> bool:
    """Whether it is of series; a number has none, and cannot be matched with them."""
    node = bare(node)
    return bool(selectors(node)) and not (isinstance(node, promql.Call) and node.func.name == "scalar")
