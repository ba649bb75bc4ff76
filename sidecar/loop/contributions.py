"""Which label values carry an anomaly: the aggregate behind a series, taken apart at two moments."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from sidecar.errors import PullError
from sidecar.promql.parts import parts_of
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


async def contributions(
    source: Asked, expr: str, labels: LabelSet, *, now_ms: int, before_ms: int
) -> list[dict[str, Any]]:
    """For each label that was aggregated away, the values whose part changed most; the clearest label first.

    At most MOST_LABELS labels, two instant queries each, narrowed to the series. Empty where
    the expression has no aggregate that can be taken apart.

    Raises: PullError where not even the labels can be had.
    """
    try:
        breakdown = parts_of(expr, labels)
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
