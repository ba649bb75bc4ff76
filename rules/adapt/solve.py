"""The rewrite of a rule that meets its objective on the past, chosen by what holds on weeks not learned from.

Pure. What suits all of the history is searched for first: the form, the `for` and the number.
The number alone is then chosen again on the first part of the history and held against what
came after, part by part, in the order of time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from rules.adapt.bounds import Bound, Family, Static, Trend
from rules.adapt.growth import WATCH, outgrown
from rules.adapt.judge import Candidate, Evidence, Verdict, bursts, fired, judge, verdict
from rules.adapt.search import (
    Objective,
    as_it_is,
    best_candidates,
    no_tighter,
    placed,
    traded_candidate,
)
from rules.adapt.stands_out import stands_out, stood_out_after
from rules.adapt.state import A_STATE, is_state
from rules.adapt.thin import too_thin
from rules.adapt.uncertainty import (
    CHANCE,
    chance_of,
    rate_interval,
    share_interval,
    within_by_chance,
)
from rules.adapt.unlike import unlike
from rules.incidents import KnownIncident
from sidecar.config.fields import format_duration
from sidecar.promql.quoted import matchers
from sidecar.promql.quoted import written as as_label

FOLDS = 4
SUSPECTED_LATER = 0.25
"""A rule may tell by that share of its length later of what is only suspected to have been an incident."""

WITHIN = "its false alarms are within the budget"
EASED = "as few false alarms as the incidents that it caught allow"
NEVER = "which nothing that it measures goes below: think of deleting it"


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
    `by_chance`: incidents that an alarm of before fell into while nothing stood out: they need not be caught.
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
    by_chance: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Unseen:
    """False alarms of the old and of the new rule on parts not learned from, and their days together.

    `bursts`: how many of the new rule's came together, each time; `lost`: the incidents that only the old
    rule caught there.
    """

    n_before: int
    bursts: Sequence[int]
    days: float
    lost: Sequence[str]

    @property
    def n_after(self) -> int:
        """False alarms of the new rule."""
        return sum(self.bursts)

    @property
    def false_per_month(self) -> tuple[float, float]:
        """The 95 % interval of the new rule's false alarms in 30 days."""
        return rate_interval(self.bursts, self.days / 30)


def solve(evidence: Evidence, objective: Objective) -> Proposal | Unchanged:
    """The best rewrite of the rule, or why there is none.

    Where nothing keeps to the objective, the quietest that loses nothing is, if it halves the noise.
    """
    thin = too_thin(evidence, objective.min_days)
    before = judge(as_it_is(evidence), evidence)
    if thin:
        return Unchanged(thin, before)
    forms = evidence.families()
    wanted = _must_catch(evidence, before, forms)
    missed = _could_catch(evidence, before, forms)
    quiet = keeps_to(objective.max_false_per_month, before, strict=objective.strict)
    if quiet and not missed:
        return Unchanged(WITHIN, before)
    if not missed:
        forms = [no_tighter(family, evidence) for family in forms]
    search = partial(_found, evidence, objective, before, wanted=wanted, missed=missed)
    found = search(forms=forms)
    bound = found.candidate.bound if isinstance(found, Proposal) else as_it_is(evidence).bound
    why = outgrown(evidence, as_it_is(evidence), bound)
    if why:
        # Nobody is told by a line that what climbs steadily has come too far, but of an incident.
        lines = [family for family in forms if family.form == Trend.form] if wanted or missed else []
        along = search(forms=lines) if lines else None
        found = along if isinstance(along, Proposal) else Unchanged(f"{why}; {WATCH}", before)
    elif isinstance(found, Unchanged) and is_state(evidence.values):
        found = replace(found, why=A_STATE)
    elif isinstance(found, Unchanged) and (hint := unlike(evidence)):
        found = replace(found, why=f"{found.why}; {hint}")
    if quiet and not (isinstance(found, Proposal) and found.after.delays.keys() & set(missed)):
        return Unchanged(f"{WITHIN}; no rewrite tells of what it missed ({', '.join(missed)})", before)
    by_chance = frozenset(before.delays.keys() - wanted.keys())
    return replace(found, by_chance=by_chance) if isinstance(found, Proposal) else found


def keeps_to(max_false_per_month: float, before: Verdict, *, strict: bool) -> bool:
    """Whether the false alarms are no more than so many in 30 days, or, unless strict, than by chance."""
    if before.false_per_month <= max_false_per_month:
        return True
    return not strict and chance_of(before.n_false, max_false_per_month * before.days / 30) > CHANCE


def _found(
    evidence: Evidence,
    objective: Objective,
    before: Verdict,
    *,
    forms: Sequence[Family],
    wanted: dict[str, float],
    missed: Sequence[str],
) -> Proposal | Unchanged:
    found = _within_budget(evidence, objective, before, forms, wanted, missed)
    if isinstance(found, Unchanged) and any(family.beyond for family in forms):
        whole = [family.whole() for family in forms]
        found = _within_budget(evidence, objective, before, whole, wanted, missed)
    for eased in () if isinstance(found, Proposal) else _eased(objective, before):
        best = best_candidates(evidence, eased, forms, wanted, missed)
        quieter = _held_against_unseen(evidence, eased, best, before, wanted, missed)
        if isinstance(quieter, Proposal):
            return replace(quieter, changes=(*quieter.changes, EASED))
    return found


def _within_budget(
    evidence: Evidence,
    objective: Objective,
    before: Verdict,
    forms: Sequence[Family],
    wanted: dict[str, float],
    missed: Sequence[str],
) -> Proposal | Unchanged:
    best, kept = best_candidates(evidence, objective, forms, wanted, missed), wanted
    if not best and objective.miss_cost is not None:
        traded, kept = traded_candidate(evidence, objective, forms, wanted, missed, objective.miss_cost)
        best = () if traded is None else (traded,)
    return _held_against_unseen(evidence, objective, best, before, kept, missed)


def _eased(objective: Objective, before: Verdict) -> Iterator[Objective]:
    """The objective with twice the false alarms, and twice again, up to half of what the rule has."""
    allowed = 2 * max(objective.max_false_per_month, 1.0)
    while allowed <= before.false_per_month / 2:
        yield replace(objective, max_false_per_month=allowed)
        allowed *= 2


def _held_against_unseen(
    evidence: Evidence,
    objective: Objective,
    best: Sequence[Candidate],
    before: Verdict,
    wanted: dict[str, float],
    missed: Collection[str],
) -> Proposal | Unchanged:
    """The first candidate that holds as a proposal, or what speaks against the last.

    They are held against the weeks that they were not chosen on.
    """
    found: Proposal | Unchanged = Unchanged(
        f"no threshold keeps to {objective.max_false_per_month:g} false alarms in 30 days "
        f"and still catches what it caught ({', '.join(wanted) or 'nothing'})",
        before,
    )
    for candidate in best:
        found = _proposed(evidence, objective, candidate, before, wanted, missed)
        if isinstance(found, Proposal):
            break
    return found


def _proposed(
    evidence: Evidence,
    objective: Objective,
    best: Candidate,
    before: Verdict,
    wanted: dict[str, float],
    missed: Collection[str],
) -> Proposal | Unchanged:
    unseen = on_unseen(evidence, objective, best, wanted)
    after = judge(best, evidence)
    if unseen.lost:
        words = f"chosen without knowing of it, it would have missed {', '.join(unseen.lost)}"
        return Unchanged(words, before)
    if unseen.n_after >= unseen.n_before and len(after.delays) <= len(before.delays):
        return Unchanged("what fits the past is no better on weeks that it was not chosen on", before)
    try:
        expr = written(best, evidence)
    except ValueError as error:
        return Unchanged(str(error), before)
    n_wanted = len({*wanted, *missed})
    return Proposal(
        best,
        expr,
        before,
        after,
        unseen.n_before,
        unseen.n_after,
        unseen.false_per_month,
        share_interval(len(after.delays.keys() & {*wanted, *missed}), n_wanted),
        describe(evidence, best),
    )


def describe(evidence: Evidence, candidate: Candidate) -> tuple[str, ...]:
    """What the candidate changes of the rule, in words, and what one number cannot change."""
    old = as_it_is(evidence)
    words = tuple(_changes(old, candidate))
    if _out_of_reach(evidence, candidate):
        return (*words, NEVER)
    hint = unlike(evidence) if isinstance(candidate.bound, Static) and candidate.bound != old.bound else ""
    return (*words, hint) if hint else words


def _out_of_reach(evidence: Evidence, candidate: Candidate) -> bool:
    """Whether the threshold lies below zero for what never goes there: such a rule tells of nothing."""
    if evidence.comparison.above or not isinstance(candidate.bound, Static):
        return False
    return candidate.bound.value <= 0 <= float(np.nanmin(evidence.values))


def _must_catch(evidence: Evidence, before: Verdict, forms: Sequence[Family]) -> dict[str, float]:
    """By incident the delay in seconds that must be kept: of those it caught for more than chance."""
    return {
        incident.name: _told_after(incident, evidence, before, forms) + _allowed_later(incident, evidence)
        for incident in evidence.incidents
        if incident.name in before.delays and stands_out(evidence, incident, forms)
    }


def _told_after(
    incident: KnownIncident, evidence: Evidence, before: Verdict, forms: Sequence[Family]
) -> float:
    """Seconds until the old alarm told of it, or until something stood out where that alarm may be noise."""
    delay = before.delays[incident.name]
    false_per_second = before.n_false / (evidence.days * 86_400)
    by_noise = within_by_chance(false_per_second, delay + evidence.step_seconds)
    return max(delay, stood_out_after(evidence, incident, forms)) if by_noise > CHANCE else delay


def _allowed_later(incident: KnownIncident, evidence: Evidence) -> float:
    """Seconds: one evaluation; a good part of what nobody called trouble, so that noise may go."""
    part = SUSPECTED_LATER * (incident.end_ms - incident.start_ms) / 1000 if incident.suspected else 0.0
    return max(evidence.step_seconds, part)


def _could_catch(evidence: Evidence, before: Verdict, forms: Sequence[Family]) -> tuple[str, ...]:
    """Incidents that name the alert and stand out in what it measures, and that it missed."""
    return tuple(
        incident.name
        for incident in evidence.incidents
        if evidence.rule.name in incident.alerts
        and incident.name not in before.delays
        and stands_out(evidence, incident, forms)
    )


def on_unseen(
    evidence: Evidence,
    objective: Objective,
    chosen: Candidate,
    kept: Collection[str],
    *,
    bent: Callable[[Bound], Bound] = lambda bound: bound,
) -> Unseen:
    """How a choice like this one does on parts of the past that it does not know.

    Only parts before which the past was long enough to choose on. `kept`: the incidents that must still
    be caught. `bent`: what limits make of a number or table that was chosen.
    """
    old = as_it_is(evidence)
    edges = np.linspace(evidence.times[0], evidence.times[-1] + 1, FOLDS + 1).astype(np.int64)
    n_old, days = 0, 0.0
    together: list[int] = []
    lost: list[str] = []
    for fold in range(1, FOLDS):
        known = evidence.between(int(edges[0]), int(edges[fold]))
        later = evidence.between(int(edges[fold]), int(edges[fold + 1]))
        forms = known.families()
        same = next((family for family in forms if family.form == chosen.bound.form), None)
        if same is not None and _out_of_reach(evidence, chosen):
            same = same.whole()
        if same is None:
            continue  # So short a past does not show yet that a table or a line is needed.
        if not _tighter(chosen, old, known):
            same = no_tighter(same, evidence)
        told = _must_catch(known, judge(old, known), forms)
        # What all of the past shows to be chance, or not worth its noise, is not asked of a part of it.
        wanted = {name: delay for name, delay in told.items() if name in kept}
        refit = placed(same, chosen, known, objective, wanted, ())
        if refit is None or (_tighter(refit, old, known) and not _tighter(chosen, old, known)):
            # Nothing was chosen on so short a past, or, as few weeks make one, a tight number, where what
            # is proposed gives the rule more room: the weeks after it say nothing of this choice.
            continue
        refit = replace(refit, bound=bent(refit.bound))
        found = fired(refit, later)
        as_it_was, as_it_would = judge(old, later), verdict(found, later)
        n_old += as_it_was.n_false
        together += bursts(found, later)
        days += later.days
        lost += sorted((as_it_was.delays.keys() - as_it_would.delays.keys()) & set(kept))
    return Unseen(n_old, together, days, lost)


def _tighter(one: Candidate, other: Candidate, evidence: Evidence) -> bool:
    sign = 1 if evidence.comparison.above else -1
    ours, theirs = (float(np.median(sign * each.bound.at(evidence.times))) for each in (one, other))
    return ours < theirs


def written(candidate: Candidate, evidence: Evidence) -> str:
    """The rule's expression as the candidate has it. Raises: ValueError where its text allows none."""
    expr = candidate.bound.rewritten(evidence.rule.expr)
    if candidate.hysteresis is None:
        return expr
    low = Static(float(candidate.low(evidence.times[:1])[0])).rewritten(evidence.rule.expr)
    return f"({expr}\n)\nor ({low}\n) and {_while_firing(evidence)}"


def _while_firing(evidence: Evidence) -> str:
    """The rule's own alert by the labels that its series brings along, and not a graver namesake's."""
    own = evidence.rule.labels
    names = {name for labels in evidence.labels for name in labels} - own.keys()
    told = {"alertname": evidence.rule.name, "alertstate": "firing"}
    told |= {name: value for name, value in own.items() if "{{" not in value}
    return f"on ({', '.join(map(as_label, sorted(names)))}) ALERTS{{{matchers(told)}}}"


def _changes(old: Candidate, new: Candidate) -> Iterator[str]:
    if new.bound != old.bound:
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
