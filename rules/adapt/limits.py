"""How far one rewrite may go: step, floor, ceiling, cool-down, freeze windows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from rules.adapt.bounds import Bound, ByHour, Static, Trend
from rules.adapt.judge import Candidate, Evidence, judge
from rules.adapt.search import Objective, placed
from rules.adapt.solve import Proposal, Unchanged, describe, on_unseen, written
from rules.adapt.unlike import unlike
from sidecar.config.adapt import AdaptConfig, RuleLimits
from sidecar.config.fields import format_duration
from sidecar.errors import RuleError, RuleReason


def frozen(config: AdaptConfig, now_seconds: float) -> str:
    """Why nothing may be changed now; empty where it may."""
    for window in config.freeze:
        if window.start.timestamp() <= now_seconds < window.end.timestamp():
            why = f" ({window.why})" if window.why else ""
            return f"rules are frozen until {window.end.isoformat(' ', 'minutes')}{why}"
    return ""


def refuse_frozen(config: AdaptConfig, now_seconds: float) -> None:
    """Raises: RuleError where nothing may be changed now."""
    why = frozen(config, now_seconds)
    if why:
        raise RuleError(RuleReason.NOT_APPLICABLE, why)


def cooling(config: AdaptConfig, last_change_seconds: float | None, now_seconds: float) -> str:
    """Why this rule may not be changed again already; empty where it may."""
    if last_change_seconds is None or now_seconds - last_change_seconds >= config.cool_down:
        return ""
    wait = format_duration(max(round(config.cool_down - (now_seconds - last_change_seconds)), 1))
    return f"it was changed a while ago; again in {wait}"


def within_limits(
    evidence: Evidence, proposal: Proposal, config: AdaptConfig, objective: Objective
) -> Proposal | Unchanged:
    """The proposal, its numbers moved no further than they may; what they do then is judged anew.

    A line is proposed whole or not at all.
    """
    old, limits = evidence.comparison.threshold, config.limits.get(evidence.rule.name)

    def nearest(value: float) -> float:
        return limited(value, old, config.max_step, limits)

    bound = proposal.candidate.bound
    if isinstance(bound, Trend):
        first, last = bound.at(evidence.times[[0, -1]]).tolist()
        (level,) = bound.at(np.array([bound.until_seconds * 1000])).tolist()
        ahead = limited(level, old, math.inf, limits)  # The step is one of today.
        if (nearest(first), nearest(last), ahead) != (first, last, level):
            return Unchanged(f"{bound.words()} lies beyond its limits", proposal.before)
        return proposal

    def moved(bound: Bound) -> Bound:
        if isinstance(bound, Static):
            return Static(nearest(bound.value))
        return bound.moved(nearest) if isinstance(bound, ByHour) else bound

    bent = moved(bound)
    if bent == bound:
        return proposal
    candidate = replace(proposal.candidate, bound=bent)
    if isinstance(bent, Static):
        candidate = _no_further_than_helps(candidate, bent, evidence)
    after = judge(candidate, evidence)
    kept = proposal.after.delays.keys() - proposal.by_chance
    unseen = on_unseen(evidence, objective, candidate, kept, bent=moved)
    lost = {
        *(proposal.after.delays.keys() & proposal.before.delays.keys() - after.delays.keys()),
        *unseen.lost,
    }
    if lost or after.n_false >= proposal.before.n_false or unseen.n_after >= unseen.n_before:
        hint = unlike(evidence)
        why = "the limits leave it no better threshold"
        return Unchanged(f"{why}; {hint}" if hint else why, proposal.before)
    return replace(
        proposal,
        candidate=candidate,
        expr=written(candidate, evidence),
        after=after,
        unseen_before=unseen.n_before,
        unseen_after=unseen.n_after,
        false_per_month=unseen.false_per_month,
        changes=(*describe(evidence, candidate), "as far as the limits allow"),
    )


def _no_further_than_helps(candidate: Candidate, bent: Static, evidence: Evidence) -> Candidate:
    """The tightest number as quiet as that at which the limit ends; it need not go there for nothing."""
    sign = 1 if evidence.comparison.above else -1
    first, last = sorted((sign * evidence.comparison.threshold, sign * bent.value))
    static = evidence.families()[0]
    nearer = replace(static, levels=[level for level in static.levels if first < level < last])
    as_far = judge(candidate, evidence)
    found = placed(nearer, candidate, evidence, Objective(as_far.false_per_month), as_far.delays, ())
    if found is None or sign * float(found.bound.at(evidence.times[:1])[0]) >= last:
        return candidate
    return found


def limited(value: float, old: float, max_step: float, limits: RuleLimits | None) -> float:
    """The value, at most `max_step` times the old one's size away from it, between floor and ceiling.

    >>> limited(100.0, 10.0, 4.0, RuleLimits(ceiling=40)), limited(1.0, 0.0144, 4.0, None)
    (40.0, 0.072)
    """
    if old != 0:
        lowest, highest = (_written(old + way * max_step * abs(old)) for way in (-1, 1))
        value = min(max(value, lowest), highest)
    if limits is not None and limits.floor is not None:
        value = max(value, limits.floor)
    if limits is not None and limits.ceiling is not None:
        value = min(value, limits.ceiling)
    return value


def _written(value: float) -> float:
    """The number as people would write it: five times 0.0144 is no 0.07200000000000001."""
    return float(f"{value:.12g}")
