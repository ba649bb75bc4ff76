"""The search for a rule's candidate: among forms, durations and levels the one that costs least on the past.

Pure. The tightest threshold whose false alarms are within the budget is the floor,
the loosest that still catches every incident in time the ceiling; what is taken lies between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from rules.adapt.bounds import Bound, Family, Static, ordinary
from rules.adapt.judge import Candidate, Evidence, judge

FORS = (120.0, 300.0, 900.0)
KEEPS = (600.0,)
HYSTERESIS = 0.5
ROOM = 1.5
"""So many spreads beyond the tightest sufficient threshold: life moves on by what it varies by."""

ROOM_AT_MOST = 0.5
"""The same as a share of the way from the median."""

TOWARDS_END = 0.5
"""The same as a share of the way to what nothing can go beyond: a rule must be able to fire."""

INWARD = 0.15
"""The same as a share of the way to the loosest that still catches everything: the next may be lower."""

SOON_ENOUGH_SECONDS = 300.0
LATER = 0.8
"""What any wait beyond one more evaluation costs."""

DOUBLED_WAIT = 0.4
"""What each doubling of a wait beyond that costs: nearly as much as the false alarms that are allowed."""

HARDLY = 0.05
"""Room that is a smaller share of the way from the median is no reason to change a number."""

FORM_COST = {"static": 0.0, "by hour": 0.4, "trend": 0.4}
ENOUGH_COST = 1.0
"""What costs less is a change of one number that leaves few false alarms and misses nothing."""

NEARER = 0.7
"""A table is worth its many numbers where it lies so much nearer to life than one number does."""

MAX_GIVEN_UP = 2
"""A rule that would have to miss more than this is for people to judge."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What is wanted of a rule: at most so many false alarms in 30 days, every incident still caught.

    `only_threshold`: durations stay as they are written. `miss_cost`: so many false alarms are as bad
    as an incident missed; None: nothing is worth one. `forms`: those that a threshold may get.
    `strict`: a rule is asked for less even where it may have had more than that by chance.
    """

    max_false_per_month: float
    min_days: float = 7.0
    knows_keep_firing: bool = True
    only_threshold: bool = False
    miss_cost: float | None = None
    forms: frozenset[str] = frozenset(FORM_COST)
    strict: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """A candidate and what it costs."""

    cost: float
    candidate: Candidate


def as_it_is(evidence: Evidence) -> Candidate:
    """The rule as it was written, as a candidate."""
    rule = evidence.rule
    bound = evidence.moving or Static(evidence.comparison.threshold)
    return Candidate(bound, rule.for_seconds, rule.keep_firing_seconds)


def best_candidates(
    evidence: Evidence,
    objective: Objective,
    forms: Sequence[Family],
    wanted: dict[str, float],
    missed: Sequence[str],
) -> tuple[Candidate, ...]:
    """The candidate that costs least: few false alarms first, then as little change as may be.

    Where one number would do and a table lies much nearer to normal life, the table, and then that number.
    """
    best: _Found | None = None
    table: Candidate | None = None
    shapes = list(_shapes(evidence, objective))
    for family in forms:
        if family.form not in objective.forms:
            continue
        if best is None or best.cost >= ENOUGH_COST:
            found = _cheapest(family, shapes, evidence, objective, wanted, missed)
            if found is not None and (best is None or found.cost < best.cost):
                best = found
        elif family.form == "by hour":
            as_soon = [one for one in shapes if one.for_seconds <= best.candidate.for_seconds]
            found = _cheapest(family, as_soon, evidence, objective, wanted, missed)
            if found is not None and _nearer(found.candidate, best.candidate, evidence):
                table = found.candidate
    return tuple(one for one in (table, best.candidate if best else None) if one is not None)


def _cheapest(
    family: Family,
    shapes: Sequence[Candidate],
    evidence: Evidence,
    objective: Objective,
    wanted: dict[str, float],
    missed: Sequence[str],
) -> _Found | None:
    """Of this form, held in one of these ways."""
    best: _Found | None = None
    for shape in shapes:
        waits = shape.for_seconds > evidence.rule.for_seconds + evidence.step_seconds
        levelled = no_tighter(family, evidence) if waits else family
        candidate = placed(levelled, shape, evidence, objective, wanted, missed)
        if candidate is None:
            continue
        cost = _cost(candidate, family, evidence, objective, missed)
        if best is None or cost < best.cost:
            best = _Found(cost, candidate)
    return best


def no_tighter(family: Family, evidence: Evidence) -> Family:
    """The form without numbers tighter than the written one.

    A tighter number that waits longer is as quiet, and tells too late, or never, of what is high and short.
    """
    if family.form != Static.form or evidence.moving is not None:
        return family
    written = (1 if evidence.comparison.above else -1) * evidence.comparison.threshold
    return replace(family, levels=[level for level in family.levels if level >= written])


def _nearer(table: Candidate, number: Candidate, evidence: Evidence) -> bool:
    """Whether a table lies so much nearer to normal life than one number that it is worth having."""
    return _distance(table, evidence) < NEARER * _distance(number, evidence)


def _distance(candidate: Candidate, evidence: Evidence) -> float:
    """How far from the threshold normal life is in the mean: so much must happen before anyone is told."""
    sign = 1 if evidence.comparison.above else -1
    gap = sign * (candidate.bound.at(evidence.times) - ordinary(evidence.values))[:, evidence.normal]
    return float(np.nanmean(np.maximum(gap, 0.0)))


def traded_candidate(
    evidence: Evidence,
    objective: Objective,
    forms: Sequence[Family],
    wanted: dict[str, float],
    missed: Sequence[str],
    miss_cost: float,
) -> tuple[Candidate | None, dict[str, float]]:
    """The best candidate that gives up incidents which cost more false alarms than they are worth.

    With it the incidents that are still caught. None where giving up none is the lesser evil.
    """
    old = judge(as_it_is(evidence), evidence)
    best: tuple[float, Candidate, dict[str, float]] | None = None
    for n in range(1, min(len(wanted), MAX_GIVEN_UP) + 1):
        for given_up in combinations(wanted, n):
            kept = {name: delay for name, delay in wanted.items() if name not in given_up}
            found = next(iter(best_candidates(evidence, objective, forms, kept, missed)), None)
            if found is None:
                continue
            price = judge(found, evidence).n_false + n * miss_cost
            if price < old.n_false and (best is None or price < best[0]):
                best = price, found, kept
        if best is not None:
            break
    return (None, wanted) if best is None else (best[1], best[2])


def _shapes(evidence: Evidence, objective: Objective) -> Iterator[Candidate]:
    """The ways to hold a threshold, without the threshold."""
    rule = evidence.rule
    nowhere = Static(np.nan)
    quiet = evidence.values[:, evidence.normal]
    rest = float(np.nanmedian(quiet))
    if objective.only_threshold:
        yield Candidate(nowhere, rule.for_seconds, rule.keep_firing_seconds)
        return
    one_more = rule.for_seconds + evidence.step_seconds
    fors = sorted({rule.for_seconds, *(one for one in (one_more, *FORS) if one > rule.for_seconds)})
    for held in fors:
        yield Candidate(nowhere, held, rule.keep_firing_seconds)
        for kept in KEEPS:
            if objective.knows_keep_firing and kept > rule.keep_firing_seconds:
                yield Candidate(nowhere, held, kept)
        if not objective.knows_keep_firing:
            yield Candidate(nowhere, held, rule.keep_firing_seconds, HYSTERESIS, rest)


def placed(
    family: Family,
    shape: Candidate,
    evidence: Evidence,
    objective: Objective,
    wanted: dict[str, float],
    missed: Sequence[str],
) -> Candidate | None:
    """The shape with the threshold of this form that suits best; None where none is good enough."""
    if shape.hysteresis is not None and family.form != "static":
        return None
    tight = loose = None
    reached: set[str] = set()
    for level in family.levels:
        seen = judge(replace(shape, bound=family.make(level)), evidence)
        if seen.false_per_month > objective.max_false_per_month:
            tight = loose = None  # Tighter ones that happen to do better are flukes.
            continue
        if any(seen.delays.get(name, np.inf) > delay for name, delay in wanted.items()):
            if tight is not None:
                break
            continue
        also = {name for name in missed if name in seen.delays}
        if tight is not None and not reached <= also:
            break
        if tight is None:
            tight, reached = level, also
        loose = level
    if tight is None or loose is None:
        return None
    room = min(
        ROOM * family.spread,
        ROOM_AT_MOST * (tight - family.middle),
        TOWARDS_END * (family.end - tight),
    )
    if wanted or reached:
        room = min(room, INWARD * (loose - tight))
    if family.make(tight) == as_it_is(evidence).bound and room < HARDLY * (tight - family.middle):
        room = 0.0  # Nobody moves 60 to 60.4.
    found = replace(shape, bound=family.make(tight + max(room, 0.0)))
    # What lies between two good levels is good as a rule, and not always.
    return found if _good(found, evidence, objective, wanted) else replace(shape, bound=family.make(tight))


def _good(candidate: Candidate, evidence: Evidence, objective: Objective, wanted: dict[str, float]) -> bool:
    seen = judge(candidate, evidence)
    return seen.false_per_month <= objective.max_false_per_month and all(
        seen.delays.get(name, np.inf) <= delay for name, delay in wanted.items()
    )


def _cost(
    candidate: Candidate, family: Family, evidence: Evidence, objective: Objective, missed: Sequence[str]
) -> float:
    """The less, the better: false alarms, what is missed, waits, and what makes a rule harder to read."""
    seen = judge(candidate, evidence)
    rule = evidence.rule
    cost = 0.5 * seen.false_per_month / max(objective.max_false_per_month, 0.5)
    cost += 0.3 * (candidate.for_seconds != rule.for_seconds)
    # What waits longer than one more evaluation is late for the next incident, whatever the known ones say.
    soon = rule.for_seconds + evidence.step_seconds
    cost += LATER * (candidate.for_seconds > soon)
    cost += DOUBLED_WAIT * math.log2(max(candidate.for_seconds / max(soon, SOON_ENOUGH_SECONDS), 1.0))
    cost += 0.2 * (candidate.keep_firing_seconds != rule.keep_firing_seconds)
    cost += 0.3 * (candidate.hysteresis is not None)
    cost += FORM_COST[family.form]
    cost += 2.0 * len(set(missed) - seen.delays.keys())
    if family.form == "static":
        cost += 0.3 * _blinded(candidate.bound, evidence)
    return cost


def _blinded(bound: Bound, evidence: Evidence) -> float:
    """How much more than normal life spans must happen before the bound is reached; 0 within that."""
    sign = 1 if evidence.comparison.above else -1
    quiet = sign * ordinary(evidence.values[:, evidence.normal])
    middle, high = float(np.nanmedian(quiet)), float(np.nanquantile(quiet, 0.999))
    reach = float(np.median(sign * bound.at(evidence.times))) - high
    return max(reach / ((high - middle) or abs(high) or 1.0), 0.0)
