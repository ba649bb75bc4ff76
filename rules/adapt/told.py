"""Durations that the alerts loop asks for, for rules that flap or end by themselves, tried on their past."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rules.adapt.judge import Evidence, bursts, fired, judge, verdict
from rules.adapt.search import as_it_is
from rules.adapt.solve import Proposal, Unchanged, describe
from rules.adapt.uncertainty import rate_interval, share_interval

KEEP = "keep_firing_for"


@dataclass(frozen=True, slots=True)
class ToldChange:
    """A rule's `for` or `keep_firing_for`, longer by so many seconds, and why."""

    alert: str
    field: str
    seconds: float
    reason: str


async def nothing_told() -> Sequence[ToldChange]:
    """Where no alerts loop is."""
    return ()


def by_alert(changes: Iterable[ToldChange]) -> dict[str, ToldChange]:
    """One change for each alert: the first that is told."""
    found: dict[str, ToldChange] = {}
    for change in changes:
        found.setdefault(change.alert, change)
    return found


def tried(evidence: Evidence, change: ToldChange, *, knows_keep_firing: bool) -> Proposal | Unchanged:
    """The change as a proposal, or what speaks against it on the past."""
    old = as_it_is(evidence)
    before = judge(old, evidence)
    if change.field == KEEP and not knows_keep_firing:
        return Unchanged("its alerts flap, and this Prometheus has no keep_firing_for", before)
    if change.field == KEEP:
        new = replace(old, keep_firing_seconds=old.keep_firing_seconds + change.seconds)
    else:
        new = replace(old, for_seconds=old.for_seconds + change.seconds)
    found = fired(new, evidence)
    after = verdict(found, evidence)
    lost = before.delays.keys() - after.delays.keys()
    if lost:
        return Unchanged(
            f"the alerts loop asks for a longer {change.field}, which would have missed "
            f"{', '.join(sorted(lost))}",
            before,
        )
    if after.n_firings >= before.n_firings:
        return Unchanged(
            f"the alerts loop asks for a longer {change.field}, which would have changed nothing", before
        )
    return Proposal(
        new,
        evidence.rule.expr,
        before,
        after,
        before.n_false,  # The past had no part in the choice.
        after.n_false,
        rate_interval(bursts(found, evidence), evidence.days / 30),
        share_interval(len(after.delays), len(before.delays)),
        describe(evidence, new),
    )
