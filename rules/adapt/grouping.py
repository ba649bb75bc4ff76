"""Rules whose series fire together: one alert for each group of them, by the labels that they share.

Pure. What differs inside of a group that fires at one time says where it hurts, not that
it hurts again; aggregated away, one fault is one alert.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rules.adapt.judge import Evidence, bursts, fired, verdict
from rules.adapt.search import as_it_is
from rules.adapt.solve import FOLDS, Proposal, Unchanged
from rules.adapt.uncertainty import rate_interval, share_interval
from rules.backtest.firing import Firing
from rules.rewrite import plain_number
from sidecar.promql.threshold import Comparison, parse_comparison
from sidecar.series import LabelSet

FEW = 10
"""So few firings show no pattern."""

TOGETHER = 0.5
"""Grouping is worth it where this share of the firings is gone."""

SAME_SHARE = 0.9
"""A label is what a group shares where it is the same in so many of the groups."""


@dataclass(frozen=True)
class Grouping:
    """The labels that are kept, and the evidence as it looks then."""

    by: tuple[str, ...]
    evidence: Evidence


def grouping_of(evidence: Evidence) -> Grouping | None:
    """The labels by which a rule's series should be grouped; None where that would not help."""
    if len(evidence.labels) < 2 or evidence.comparison.conditions or evidence.moving is not None:
        return None
    found = fired(as_it_is(evidence), evidence)
    several = [rows for rows in clusters(found) if len(rows) > 1]
    if len(found) < FEW or not several:
        return None
    names = sorted({name for labels in evidence.labels for name in labels})
    by = shared_labels(several, evidence.labels)
    if not by or len(by) == len(names):
        return None  # Nothing shared, so nothing that a person could be told; or nothing to leave out.
    grouped = _grouped(evidence, by)
    if len(fired(as_it_is(grouped), grouped)) > (1 - TOGETHER) * len(found):
        return None
    return Grouping(by, grouped)


def with_grouping(
    evidence: Evidence, grouping: Grouping, outcome: Proposal | Unchanged
) -> Proposal | Unchanged:
    """What was solved on the grouped evidence, told against the rule as it was written.

    Where the grouped rule needs no other threshold, grouping alone is proposed.
    """
    before = verdict(fired(as_it_is(evidence), evidence), evidence)
    words = f"one alert by ({', '.join(grouping.by)})"
    if isinstance(outcome, Proposal):
        return replace(outcome, before=before, changes=(words, *outcome.changes))
    after = verdict(fired(as_it_is(grouping.evidence), grouping.evidence), grouping.evidence)
    if after.n_false >= before.n_false or before.delays.keys() - after.delays.keys():
        return Unchanged(outcome.why, before)
    old, new = _later(evidence), _later(grouping.evidence)
    return Proposal(
        as_it_is(grouping.evidence),
        grouping.evidence.rule.expr,
        before,
        after,
        sum(old),
        sum(new),
        rate_interval(new, _unseen(evidence).days / 30),
        share_interval(len(after.delays.keys() & before.delays.keys()), len(before.delays)),
        (words,),
    )


def clusters(found: Iterable[Firing]) -> list[set[int]]:
    """Rows of firings that overlap in time."""
    rows: list[set[int]] = []
    until = -1
    for firing in sorted(found, key=lambda one: one.start_ms):
        if firing.start_ms >= until:
            rows.append(set())
        rows[-1].add(firing.row)
        until = max(until, firing.end_ms)
    return rows


def shared_labels(groups: Collection[set[int]], labels: Sequence[LabelSet]) -> tuple[str, ...]:
    """Names of the labels that are the same in nearly every one of the groups of rows."""
    names = sorted({name for one in labels for name in one})

    def is_shared(name: str) -> bool:
        same = sum(len({labels[row].get(name, "") for row in rows}) == 1 for rows in groups)
        return same >= SAME_SHARE * len(groups)

    return tuple(filter(is_shared, names))


def _grouped(evidence: Evidence, by: tuple[str, ...]) -> Evidence:
    """The worst of each group at each time, as `max by` (below a threshold: `min by`) gives it."""
    comparison = evidence.comparison
    groups: dict[LabelSet, list[int]] = {}
    for row, labels in enumerate(evidence.labels):
        groups.setdefault(LabelSet({name: labels.get(name, "") for name in by}), []).append(row)
    worst = np.fmax if comparison.above else np.fmin
    values = np.stack([worst.reduce(evidence.values[rows], axis=0) for rows in groups.values()])
    how = "max" if comparison.above else "min"
    expr = (
        f"{how} by ({', '.join(by)}) (\n  {comparison.measured}\n) "
        f"{comparison.operator} {plain_number(comparison.threshold)}"
    )
    parsed = parse_comparison(expr)
    assert isinstance(parsed, Comparison)
    rule = replace(evidence.rule, expr=expr)
    return replace(evidence, rule=rule, comparison=parsed, labels=tuple(groups), values=values)


def _unseen(evidence: Evidence) -> Evidence:
    """The part after the first fold, which other choices are tried on."""
    length = evidence.times[-1] - evidence.times[0]
    return evidence.between(int(evidence.times[0] + length // FOLDS), int(evidence.times[-1]) + 1)


def _later(evidence: Evidence) -> list[int]:
    """How many false alarms came together there, each time."""
    later = _unseen(evidence)
    return bursts(fired(as_it_is(later), later), later)
