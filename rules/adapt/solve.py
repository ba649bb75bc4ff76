"""The rewrite of a rule that meets its objective on the past, chosen by what holds on weeks not learned from.

Pure. The tightest threshold whose false alarms are within the budget is the floor,
the loosest that still catches every incident in time the ceiling; what is proposed
lies between them. The same choice is then made again on the first part of the history
alone and held against what came after, part by part, in the order of time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from rules.adapt.bounds import Bound, Family, Static, families
from rules.adapt.judge import Candidate, Evidence, Verdict, judge
from rules.adapt.uncertainty import poisson_interval, share_interval
from sidecar.config.fields import format_duration

FOLDS = 4
FORS = (120.0, 300.0, 900.0)
KEEPS = (600.0,)
HYSTERESIS = 0.5
INWARD = 0.3
"""How far from the tightest sufficient threshold towards the loosest that still catches everything."""

BEYOND = 0.25
"""The same where no incident bounds it: this share of the way from the median beyond the tightest."""

MAX_GIVEN_UP = 2
"""A rule that would have to miss more than this is for people to judge."""

MIN_NORMAL = 500
"""So few normal samples tell nothing of the rare ones that raise alarms."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What is wanted of a rule: at most so many false alarms in 30 days, every incident still caught.

    `only_threshold`: durations stay as they are written. `miss_cost`: so many false alarms are as bad
    as an incident missed; None: nothing is worth one.
    """

    max_false_per_month: float
    min_days: float = 7.0
    knows_keep_firing: bool = True
    only_threshold: bool = False
    miss_cost: float | None = None


@dataclass(frozen=True)
class Unchanged:
    """Why nothing is proposed. `before` where the rule could be judged at all."""

    why: str
    before: Verdict | None = None


@dataclass(frozen=True)
class Proposal:
    """A rewrite and its evidence.

    `before`, `after`: on all of the history. `unseen_before`, `unseen_after`: on the parts that the
    choice did not know. Intervals: 95 %, of false alarms in 30 days and of the share of incidents caught.
    """

    candidate: Candidate
    expr: str
    before: Verdict
    after: Verdict
    unseen_before: int
    unseen_after: int
    false_per_month: tuple[float, float]
    caught_share: tuple[float, float]
    changes: tuple[str, ...] = field(default=())


def solve(evidence: Evidence, objective: Objective) -> Proposal | Unchanged:
    """The best rewrite of the rule, or why there is none."""
    thin = _too_thin(evidence, objective)
    old = as_it_is(evidence)
    before = judge(old, evidence)
    if thin:
        return Unchanged(thin, before)
    forms = families(evidence.values, evidence.times, evidence.normal, evidence.comparison)
    wanted = _must_catch(evidence, before, forms)
    missed = _could_catch(evidence, before, forms)
    if before.false_per_month <= objective.max_false_per_month and not missed:
        return Unchanged("its false alarms are within the budget", before)
    best = _best(evidence, objective, forms, wanted, missed)
    if best is None and objective.miss_cost is not None:
        best, wanted = _traded(evidence, objective, forms, wanted, missed, objective.miss_cost)
    if best is None:
        return Unchanged(
            f"no threshold keeps to {objective.max_false_per_month:g} false alarms in 30 days "
            f"and still catches what it caught ({', '.join(wanted) or 'nothing'})",
            before,
        )
    unseen_before, unseen_after, unseen_days, lost = _on_unseen(evidence, objective, best, old, wanted)
    after = judge(best, evidence)
    if lost:
        return Unchanged(f"chosen without knowing of it, it would have missed {', '.join(lost)}", before)
    if unseen_after >= unseen_before and len(after.delays) <= len(before.delays):
        return Unchanged("what fits the past is no better on weeks that it was not chosen on", before)
    try:
        expr = _written(best, evidence)
    except ValueError as error:
        return Unchanged(str(error), before)
    n_wanted = len({*wanted, *missed})
    return Proposal(
        best,
        expr,
        before,
        after,
        unseen_before,
        unseen_after,
        poisson_interval(unseen_after, unseen_days / 30),
        share_interval(len(after.delays.keys() & {*wanted, *missed}), n_wanted),
        describe(evidence, best),
    )


def describe(evidence: Evidence, candidate: Candidate) -> tuple[str, ...]:
    """What the candidate changes of the rule, in words."""
    return tuple(_changes(as_it_is(evidence), candidate))


def as_it_is(evidence: Evidence) -> Candidate:
    """The rule as it was written, as a candidate."""
    rule = evidence.rule
    return Candidate(Static(evidence.comparison.threshold), rule.for_seconds, rule.keep_firing_seconds)


def _too_thin(evidence: Evidence, objective: Objective) -> str:
    if evidence.days < objective.min_days - 0.01:
        return f"{evidence.days:.1f} days of history, {objective.min_days:g} are needed"
    finite = np.isfinite(evidence.values)
    if not finite.any():
        return "what it measures had no value in all that time"
    n_normal = int(finite[:, evidence.normal].any(axis=0).sum())
    if n_normal < MIN_NORMAL:
        return f"{n_normal} normal samples, {MIN_NORMAL} are needed"
    return ""


def _must_catch(evidence: Evidence, before: Verdict, forms: Sequence[Family]) -> dict[str, float]:
    """By incident the delay in seconds that must be kept: of those it caught for more than chance."""
    return {
        name: delay + evidence.step_seconds
        for name, delay in before.delays.items()
        if _stands_out(evidence, name, forms)
    }


def _could_catch(evidence: Evidence, before: Verdict, forms: Sequence[Family]) -> tuple[str, ...]:
    """Incidents that name the alert and stand out in what it measures, and that it missed."""
    return tuple(
        incident.name
        for incident in evidence.incidents
        if evidence.rule.name in incident.alerts
        and incident.name not in before.delays
        and _stands_out(evidence, incident.name, forms)
    )


def _stands_out(evidence: Evidence, name: str, forms: Sequence[Family]) -> bool:
    """Whether the incident went beyond all but a thousandth of normal life, in the view of any form."""
    incident = next(i for i in evidence.incidents if i.name == name)
    rows = np.array([incident.matches(labels) for labels in evidence.labels], dtype=np.bool_)
    inside = (evidence.times >= incident.start_ms) & (evidence.times <= incident.end_ms)
    for family in forms:
        there, quiet = family.relative[rows][:, inside], family.relative[rows][:, evidence.normal]
        seen = np.isfinite(there).any() and np.isfinite(quiet).any()
        if seen and np.nanmax(there) > np.nanquantile(quiet, 0.999):
            return True
    return False


def _best(
    evidence: Evidence,
    objective: Objective,
    forms: Sequence[Family],
    wanted: dict[str, float],
    missed: Sequence[str],
) -> Candidate | None:
    """The candidate that costs least: few false alarms first, then as little change as may be."""
    best: tuple[float, Candidate] | None = None
    for family in forms:
        for shape in _shapes(evidence, objective):
            found = _placed(family, shape, evidence, objective, wanted, missed)
            if found is None:
                continue
            cost = _cost(found, family, evidence, objective, missed)
            if best is None or cost < best[0]:
                best = cost, found
        if best is not None and best[0] < 1.0:
            break  # A table or a line is for what one number cannot do.
    return None if best is None else best[1]


def _traded(
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
            found = _best(evidence, objective, forms, kept, missed)
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
    fors = sorted({rule.for_seconds, *(one for one in FORS if one > rule.for_seconds)})
    for held in fors:
        yield Candidate(nowhere, held, rule.keep_firing_seconds)
        for kept in KEEPS:
            if objective.knows_keep_firing and kept > rule.keep_firing_seconds:
                yield Candidate(nowhere, held, kept)
        if not objective.knows_keep_firing:
            yield Candidate(nowhere, held, rule.keep_firing_seconds, HYSTERESIS, rest)


def _placed(
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
    if wanted or reached:
        level = tight + INWARD * (loose - tight)
    else:
        level = tight + BEYOND * (tight - family.middle)
    placed = replace(shape, bound=family.make(level))
    # What lies between two good levels is good as a rule, and not always.
    return placed if _good(placed, evidence, objective, wanted) else replace(shape, bound=family.make(tight))


def _good(candidate: Candidate, evidence: Evidence, objective: Objective, wanted: dict[str, float]) -> bool:
    seen = judge(candidate, evidence)
    return seen.false_per_month <= objective.max_false_per_month and all(
        seen.delays.get(name, np.inf) <= delay for name, delay in wanted.items()
    )


def _cost(
    candidate: Candidate, family: Family, evidence: Evidence, objective: Objective, missed: Sequence[str]
) -> float:
    """Below 1 for a change of one number that leaves few false alarms and misses nothing."""
    seen = judge(candidate, evidence)
    rule = evidence.rule
    cost = 0.5 * seen.false_per_month / max(objective.max_false_per_month, 0.5)
    cost += 0.3 * (candidate.for_seconds != rule.for_seconds) + 0.2 * (candidate.for_seconds > 300)
    cost += 0.2 * (candidate.keep_firing_seconds != rule.keep_firing_seconds)
    cost += 0.3 * (candidate.hysteresis is not None)
    cost += {"static": 0.0, "by hour": 0.4, "trend": 0.4}[family.form]
    cost += 2.0 * len(set(missed) - seen.delays.keys())
    if family.form == "static":
        cost += 0.3 * _blinded(candidate.bound, evidence)
    return cost


def _blinded(bound: Bound, evidence: Evidence) -> float:
    """How much more than normal life spans must happen before the bound is reached; 0 within that."""
    sign = 1 if evidence.comparison.above else -1
    quiet = sign * evidence.values[:, evidence.normal]
    middle, high = float(np.nanmedian(quiet)), float(np.nanquantile(quiet, 0.999))
    reach = float(np.median(sign * bound.at(evidence.times))) - high
    return max(reach / ((high - middle) or abs(high) or 1.0), 0.0)


def _on_unseen(
    evidence: Evidence, objective: Objective, chosen: Candidate, old: Candidate, kept: Collection[str]
) -> tuple[int, int, float, list[str]]:
    """False alarms of the old and of the new rule on parts not learned from, and their days together.

    Last, those of the incidents in `kept` that only the old rule caught there.
    """
    edges = np.linspace(evidence.times[0], evidence.times[-1] + 1, FOLDS + 1).astype(np.int64)
    n_old, n_new, days = 0, 0, 0.0
    lost: list[str] = []
    for fold in range(1, FOLDS):
        known = evidence.between(int(edges[0]), int(edges[fold]))
        later = evidence.between(int(edges[fold]), int(edges[fold + 1]))
        forms = families(known.values, known.times, known.normal, known.comparison)
        same = next((family for family in forms if family.form == chosen.bound.form), None)
        if same is None:
            continue  # So short a past does not show yet that a table or a line is needed.
        wanted = _must_catch(known, judge(old, known), forms)
        refit = _placed(same, chosen, known, objective, wanted, ()) or old
        as_it_was, as_it_would = judge(old, later), judge(refit, later)
        n_old += as_it_was.n_false
        n_new += as_it_would.n_false
        days += later.days
        lost += sorted((as_it_was.delays.keys() - as_it_would.delays.keys()) & set(kept))
    return n_old, n_new, days, lost


def _written(candidate: Candidate, evidence: Evidence) -> str:
    expr = candidate.bound.rewritten(evidence.rule.expr)
    if candidate.hysteresis is None:
        return expr
    low = Static(float(candidate.low(evidence.times[:1])[0])).rewritten(evidence.rule.expr)
    on = ", ".join(sorted({name for labels in evidence.labels for name in labels}))
    firing = f'ALERTS{{alertname="{evidence.rule.name}",alertstate="firing"}}'
    return f"({expr}\n)\nor ({low}\n) and on ({on}) {firing}"


def _changes(old: Candidate, new: Candidate) -> Iterator[str]:
    yield f"threshold {old.bound.words()} → {new.bound.words()}"
    if new.for_seconds != old.for_seconds:
        yield f"for {format_duration(old.for_seconds)} → {format_duration(new.for_seconds)}"
    if new.keep_firing_seconds != old.keep_firing_seconds:
        yield (
            f"keep_firing_for {format_duration(old.keep_firing_seconds)} → "
            f"{format_duration(new.keep_firing_seconds)}"
        )
    if new.hysteresis is not None:
        yield f"fires until it is {new.hysteresis:.0%} of the way back"
