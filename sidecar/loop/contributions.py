"""Which label values carry an anomaly: the aggregate behind a series, taken apart at two moments."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import promql_parser as promql

from sidecar.errors import PullError
from sidecar.promql.breakdown import ADDITIVE, Breakdown
from sidecar.promql.quoted import written
from sidecar.promql.syntax import Syntax, bare, selectors
from sidecar.series import LabelSet, SeriesBatch

MOST_LABELS = 5
MOST_VALUES = 200
SHOWN_VALUES = 5
SECONDS = 2.0
"""All questions of one explanation together may take so long; what is known then is told."""

_NEVER = frozenset(("__name__", "le"))


class Asked(Protocol):
    """What is asked of Prometheus: instant values, and which series there are."""

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        """The value of each series at one instant."""
        ...

    async def series(self, matches: Sequence[str], *, start_ms: int, end_ms: int) -> list[LabelSet]:
        """Label sets of the series that match."""
        ...


@dataclass(frozen=True)
class _PartsOfRatio:
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


def _taken_apart(expr: str, labels: LabelSet) -> Breakdown | _PartsOfRatio | None:
    """How the series of the answer with these labels splits; None where it does not. Raises: ValueError."""
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
    return _PartsOfRatio(above, syntax.text(ratio.rhs), factor, every)


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


async def contributions(
    source: Asked, expr: str, labels: LabelSet, *, now_ms: int, before_ms: int
) -> list[dict[str, Any]]:
    """For each label that was aggregated away, the values whose part changed most; the clearest label first.

    At most MOST_LABELS labels, two instant queries each, narrowed to the series. Empty where
    the expression has no aggregate that can be taken apart.

    Raises: PullError where not even the labels can be had.
    """
    try:
        breakdown = _taken_apart(expr, labels)
    except ValueError:
        return []
    if breakdown is None:
        return []
    found: list[dict[str, Any]] = []

    async def ask() -> None:
        behind = await source.series(breakdown.selectors, start_ms=now_ms - 300_000, end_ms=now_ms)
        async with asyncio.TaskGroup() as group:
            for label in _candidates(behind, labels):
                group.create_task(part(label))

    async def part(label: str) -> None:
        try:
            then, now = await asyncio.gather(
                *(
                    source.instant(
                        breakdown.by(label), at_ms=at, name=f"by {label}", max_series=MOST_VALUES * 10
                    )
                    for at in (before_ms, now_ms)
                )
            )
        except PullError:
            return  # One label that is too much is no reason to tell nothing of the others.
        values = _values(label, labels, then, now)
        if values:
            found.append(_told(label, values, additive=breakdown.additive))

    try:
        await asyncio.wait_for(ask(), SECONDS)
    except TimeoutError:
        pass
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    return sorted(found, key=lambda one: -one["clarity"])


def _candidates(behind: Sequence[LabelSet], labels: LabelSet) -> list[str]:
    """Labels of which there are several values, but not too many to read; the fewest first."""
    values: dict[str, set[str]] = {}
    for one in behind:
        for name, value in one.pairs:
            values.setdefault(name, set()).add(value)
    sizes = {
        name: len(found)
        for name, found in values.items()
        if 2 <= len(found) <= MOST_VALUES and name not in labels and name not in _NEVER
    }
    return sorted(sizes, key=lambda name: (sizes[name], name))[:MOST_LABELS]


def _values(label: str, labels: LabelSet, then: SeriesBatch, now: SeriesBatch) -> dict[str, list[float]]:
    """Value of the part before and now, by the label's value; NaN where there was none."""
    found: dict[str, list[float]] = {}
    for at, batch in enumerate((then, now)):
        for series, value in zip(batch.labels, batch.values[:, 0].tolist(), strict=True):
            if series.without(label, "__name__") == labels.without("__name__"):
                found.setdefault(series.get(label, ""), [np.nan, np.nan])[at] = value
    return found


def _told(label: str, values: dict[str, list[float]], *, additive: bool) -> dict[str, Any]:
    """The label's values by change. `share`: of the whole change, where the parts sum up to it."""
    # A part of a sum that is not there counts as nothing; another value that is not there is unknown.
    absent = 0.0 if additive else np.nan
    parts = {
        value: [absent if np.isnan(one) else one for one in (before, now)]
        for value, (before, now) in values.items()
    }
    change = {value: now - before for value, (before, now) in parts.items()}
    known = {value: one for value, one in change.items() if np.isfinite(one)}
    moved = sum(abs(one) for one in known.values())
    total = sum(known.values())
    order = sorted(known, key=lambda value: -abs(known[value]))[:SHOWN_VALUES]
    first = abs(known[order[0]]) / moved if order and moved else 0.0
    return {
        "label": label,
        "concentration": round(first, 3),
        # Of two values one has at least half of any change: what counts is how much more it is.
        "clarity": round(first - 1 / max(len(parts), 1), 3),
        "values": [
            {
                "value": value,
                "before": parts[value][0],
                "now": parts[value][1],
                "change": known[value],
                "share": round(known[value] / total, 3) if additive and total else None,
            }
            for value in order
        ],
    }


def in_words(found: Sequence[dict[str, Any]]) -> str:
    """The clearest label as a sentence; empty where none stands out."""
    if not found or found[0]["concentration"] < 0.5:
        return ""
    label, first = found[0]["label"], found[0]["values"][0]
    share = f"; {first['share']:.0%} of the change" if first["share"] is not None else ""
    numbers = f"{first['before']:.4g} before, {first['now']:.4g} now{share}"
    return f'It is carried by {label}="{first["value"]}" ({numbers}).'
