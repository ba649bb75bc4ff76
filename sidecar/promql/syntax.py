"""PromQL taken apart without losing what its strings say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import promql_parser as promql

from sidecar.promql import nesting
from sidecar.promql.quoted import said

_NO_STEP = re.compile(r":\s*\]")
_USUAL_STEP = ":1d10h17m36s]"
"""Stands for the step that a subquery leaves to the server: the parser's writer would leave out its colon."""

_EMPTY_MATCHERS = re.compile(r"(?<=[A-Za-z0-9_:])\{\}")
_PIECE = re.compile(nesting.STRING_OR_COMMENT.pattern + r"|[A-Za-z_:][A-Za-z0-9_:]*|\S")
_BEFORE_LABELS = frozenset(("by", "without", "on", "ignoring", "group_left", "group_right"))
_COMPARED = re.compile(r"\s*(?:=|!)")
QUOTED_NAME = re.compile(r"pronoia_quoted_(\d+)_")
"""Stands in the tree for the label that has this number among `names`."""


@dataclass(frozen=True)
class Syntax:
    """The tree of an expression, and the strings that were put aside before it was parsed.

    The parser's own writer loses escapes inside strings, so they do not go through it. Comments are gone.
    `names`: those of labels in quotes, which it would write bare; the tree has others for them. A metric in
    quotes is a matcher of `__name__`. `quotes_names`: any name is, which Prometheus 3 began.
    """

    tree: promql.Expr
    strings: tuple[str, ...]
    names: tuple[str, ...] = ()
    quotes_names: bool = False

    @classmethod
    def parse(cls, expr: str) -> Self:
        """Raises: ValueError where the expression is not PromQL, or nested too deep."""
        text, strings, names, quotes_names = _put_aside(expr)
        tree = nesting.parse(_NO_STEP.sub(_USUAL_STEP, text))
        return cls(tree, tuple(strings), tuple(names), quotes_names)

    def text(self, node: promql.Expr) -> str:
        """The node as people write it, its strings as they stood."""
        return self.restored(str(node))

    def restored(self, text: str) -> str:
        """What the parser wrote, as people write it, its strings as they stood."""
        # The parser writes a selector without matchers as `up{}`; people do not.
        text = _EMPTY_MATCHERS.sub("", text).replace(_USUAL_STEP, ":]").strip()
        text = QUOTED_NAME.sub(lambda found: json.dumps(self.names[int(found[1])], ensure_ascii=False), text)
        for n, literal in enumerate(self.strings):
            text = text.replace(f'"literal-{n}-"', literal)
        return text

    def labels(self, names: Iterable[str]) -> list[str]:
        """Labels as the tree names them, by their own names."""
        return [QUOTED_NAME.sub(lambda found: self.names[int(found[1])], name) for name in names]

    def metric(self, node: promql.VectorSelector) -> str:
        """The metric that is selected, also where it is in quotes or a matcher; empty where any may be."""
        if node.name:
            return str(node.name)
        for matcher in node.matchers.matchers:
            if matcher.name == "__name__" and str(matcher.op).endswith(".Equal"):
                return said(self.restored(f'"{matcher.value}"'))
        return ""


def _put_aside(expr: str) -> tuple[str, list[str], list[str], bool]:
    """The expression without strings and comments; these, quoted labels, and whether any string is a name."""
    if not re.search(r"[\"'`#]", expr):
        return expr, [], [], False
    parts: list[str] = []
    strings: list[str] = []
    names: list[str] = []
    opened, before, end, quotes_names = [""], "", 0, False
    for piece in _PIECE.finditer(expr):
        found = piece.group(0)
        parts.append(expr[end : piece.start()])
        end = piece.end()
        if found[0] == "#":  # In a comment quotes are apostrophes.
            parts.append(" ")
            continue
        if found in "({":
            opened.append("labels" if found == "(" and before.lower() in _BEFORE_LABELS else found)
        elif found in ")}" and len(opened) > 1:
            opened.pop()
        elif found[0] in "\"'`" and len(found) > 1:
            is_value = opened[-1] not in ("{", "labels") or before in ("=", "~")
            quotes_names |= not is_value
            if not is_value and (opened[-1] == "labels" or _COMPARED.match(expr, end)):
                names.append(said(found))
                found = f"pronoia_quoted_{len(names) - 1}_"
            else:
                if found[0] == "`":  # Raw strings, whose backslashes the parser takes for escapes.
                    found = json.dumps(found[1:-1], ensure_ascii=False)
                strings.append(found)
                found = ("" if is_value else "__name__=") + f'"literal-{len(strings) - 1}-"'
        parts.append(found)
        before = found
    return "".join([*parts, expr[end:]]), strings, names, quotes_names


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
