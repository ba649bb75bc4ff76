"""PromQL taken apart without losing what its strings say."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Self

import promql_parser as promql

from sidecar.promql import nesting

_NO_STEP = re.compile(r":\s*\]")
_USUAL_STEP = ":1d10h17m36s]"
"""Stands for the step that a subquery leaves to the server: the parser's writer would leave out its colon."""

_EMPTY_MATCHERS = re.compile(r"(?<=[A-Za-z0-9_:])\{\}")


@dataclass(frozen=True)
class Syntax:
    """The tree of an expression, and the strings that were put aside before it was parsed.

    The parser's own writer loses escapes inside strings, so they do not go through it. Comments are gone.
    """

    tree: promql.Expr
    strings: tuple[str, ...]

    @classmethod
    def parse(cls, expr: str) -> Self:
        """Raises: ValueError where the expression is not PromQL, or nested too deep."""
        strings: list[str] = []

        def put_aside(match: re.Match[str]) -> str:
            literal = match.group(0)
            if literal[0] == "#":  # In a comment quotes are apostrophes.
                return " "
            if literal[0] == "`":  # Raw strings, whose backslashes the parser takes for escapes.
                literal = json.dumps(literal[1:-1], ensure_ascii=False)
            strings.append(literal)
            return f'"literal-{len(strings) - 1}-"'

        without_strings = nesting.STRING_OR_COMMENT.sub(put_aside, expr)
        return cls(nesting.parse(_NO_STEP.sub(_USUAL_STEP, without_strings)), tuple(strings))

    def text(self, node: promql.Expr) -> str:
        """The node as people write it, its strings as they stood."""
        return self.restored(str(node))

    def restored(self, text: str) -> str:
        """What the parser wrote, as people write it, its strings as they stood."""
        # The parser writes a selector without matchers as `up{}`; people do not.
        text = _EMPTY_MATCHERS.sub("", text).replace(_USUAL_STEP, ":]").strip()
        for n, literal in enumerate(self.strings):
            text = text.replace(f'"literal-{n}-"', literal)
        return text


def bare(node: promql.Expr) -> promql.Expr:
    """The node without the parentheses around it."""
    while isinstance(node, promql.ParenExpr):
        node = node.expr
    return node


def children(node: promql.Expr) -> list[promql.Expr]:
    """The expressions right below a node."""
    if isinstance(node, promql.BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, promql.Call):
        return list(node.args)
    if isinstance(node, promql.AggregateExpr | promql.ParenExpr | promql.UnaryExpr | promql.SubqueryExpr):
        return [node.expr]
    return []


def selectors(node: promql.Expr) -> list[str]:
    """Names of the metrics that an expression selects; empty string for a selector without a name."""
    if isinstance(node, promql.VectorSelector):
        return [node.name or ""]
    if isinstance(node, promql.MatrixSelector):
        return selectors(node.vector_selector)
    return [name for child in children(node) for name in selectors(child)]
