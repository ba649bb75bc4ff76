"""An expression with aggregates, rewritten so that one more label of what was aggregated is seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import promql_parser as promql

from sidecar.promql.quoted import matchers, written
from sidecar.promql.syntax import Syntax, bare, children

ADDITIVE = frozenset(("sum", "count"))
_PLAIN = ADDITIVE | {"avg", "min", "max", "group", "stddev", "stdvar"}
_RENAMING = frozenset(("label_replace", "label_join"))
_END = re.compile(r"^[^{\[\s]*(\{[^}]*\})?")


@dataclass(frozen=True)
class Breakdown:
    """An expression whose outermost aggregates can be taken apart.

    `additive`: the parts of a value sum up to it. `selectors`: what is aggregated,
    narrowed to one series of the answer, for `/api/v1/series`.
    """

    additive: bool
    selectors: tuple[str, ...]
    _syntax: Syntax
    _aggregates: tuple[promql.AggregateExpr, ...]
    _narrow: Mapping[str, str]

    @classmethod
    def of(cls, expr: str, labels: Mapping[str, str]) -> Breakdown | None:
        """For the series with `labels` in the answer to `expr`; None where it cannot be taken apart.

        That is so without an aggregate, with topk or quantile, and where sides are joined by
        `on` or `ignoring`, which would have to name the new label too.

        Raises: ValueError where the expression is not PromQL.
        """
        syntax = Syntax.parse(expr)
        aggregates = _outermost(syntax.tree)
        if aggregates is None or not aggregates:
            return None
        narrow: dict[str, str] = {}
        if not any(_renames(node) for node in aggregates):
            kept = [_kept(syntax, node, labels) for node in aggregates]
            narrow = {name: labels[name] for name in set.intersection(*kept)}
        top = bare(syntax.tree)
        additive = top is aggregates[0] and str(aggregates[0].op) in ADDITIVE
        selectors = tuple(
            dict.fromkeys(
                syntax.restored(_narrowed(found, narrow))
                for node in aggregates
                for found in _selector_texts(node.expr)
            )
        )
        return cls(additive, selectors, syntax, tuple(aggregates), narrow)

    def by(self, label: str) -> str:
        """The expression, with what it aggregates split by `label`."""
        text = str(self._syntax.tree)
        for node in self._aggregates:
            inner = str(node.expr)
            for found in set(_selector_texts(node.expr)):
                inner = inner.replace(found, _narrowed(found, self._narrow))
            text = text.replace(str(node), f"{node.op}{_grouping(self._syntax, node, label)} ({inner})")
        return self._syntax.restored(text)


def _outermost(node: promql.Expr) -> list[promql.AggregateExpr] | None:
    """The aggregates nearest to the top; None where one, or a join above them, is in the way."""
    if isinstance(node, promql.AggregateExpr):
        return [node] if str(node.op) in _PLAIN else None
    if (
        isinstance(node, promql.BinaryExpr)
        and node.modifier is not None
        and node.modifier.matching is not None
    ):
        return None
    found: list[promql.AggregateExpr] = []
    for child in children(node):
        below = _outermost(child)
        if below is None:
            return None
        found += below
    return found


def _grouping(syntax: Syntax, node: promql.AggregateExpr, label: str) -> str:
    modifier = node.modifier
    names = syntax.labels(modifier.labels) if modifier is not None else []
    without = _is_without(node)
    wanted = [name for name in names if name != label] if without else dict.fromkeys([*names, label])
    return f" {'without' if without else 'by'} ({', '.join(written(name) for name in wanted)})"


def _is_without(node: promql.AggregateExpr) -> bool:
    return node.modifier is not None and node.modifier.type == promql.AggModifierType.Without


def _kept(syntax: Syntax, node: promql.AggregateExpr, labels: Mapping[str, str]) -> set[str]:
    """Labels of the answer that come unchanged from what is aggregated."""
    names = set(syntax.labels(node.modifier.labels)) if node.modifier is not None else set()
    present = {name for name in labels if name != "__name__"}
    return present - names if _is_without(node) else present & names


def _renames(node: promql.Expr) -> bool:
    if isinstance(node, promql.Call) and node.func.name in _RENAMING:
        return True
    return any(_renames(child) for child in children(node))


def _selector_texts(node: promql.Expr) -> list[str]:
    """Each selector under a node as the parser writes it, without range, offset and @."""
    if isinstance(node, promql.MatrixSelector):
        node = node.vector_selector
    if isinstance(node, promql.VectorSelector):
        match = _END.match(str(node))
        return [match.group(0)] if match else []
    return [text for child in children(node) for text in _selector_texts(child)]


def _narrowed(selector: str, narrow: Mapping[str, str]) -> str:
    added = matchers(dict(sorted(narrow.items())))
    if not added:
        return selector
    if not selector.endswith("}"):
        return f"{selector}{{{added}}}"
    return f"{selector[:-1]}{',' if not selector.endswith('{}') else ''}{added}}}"
