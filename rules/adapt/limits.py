"""How far one rewrite may go: step, floor, ceiling, cool-down, freeze windows."""

from __future__ import annotations

from dataclasses import replace

from rules.adapt.bounds import Static
from rules.adapt.judge import Evidence, judge
from rules.adapt.solve import Proposal, Unchanged, describe
from sidecar.config.adapt import AdaptConfig, RuleLimits
from sidecar.config.fields import format_duration


def frozen(config: AdaptConfig, now_seconds: float) -> str:
    """Why nothing may be changed now; empty where it may."""
    for window in config.freeze:
        if window.start.timestamp() <= now_seconds < window.end.timestamp():
            why = f" ({window.why})" if window.why else ""
            return f"rules are frozen until {window.end.isoformat(' ', 'minutes')}{why}"
    return ""


def cooling(config: AdaptConfig, last_change_seconds: float | None, now_seconds: float) -> str:
    """Why this rule may not be changed again already; empty where it may."""
    if last_change_seconds is None or now_seconds - last_change_seconds >= config.cool_down:
        return ""
    wait = format_duration(max(round(config.cool_down - (now_seconds - last_change_seconds)), 1))
    return f"it was changed a while ago; again in {wait}"


def held_back(evidence: Evidence, proposal: Proposal, config: AdaptConfig) -> str:
    """Why a table or a line is not proposed although it suits: part of it lies beyond floor or ceiling."""
    limits = config.limits.get(evidence.rule.name)
    if limits is None or isinstance(proposal.candidate.bound, Static):
        return ""
    bounds = proposal.candidate.bound.at(evidence.times)
    low, high = float(bounds.min()), float(bounds.max())
    if (limits.floor is not None and low < limits.floor) or (
        limits.ceiling is not None and high > limits.ceiling
    ):
        return f"{proposal.candidate.bound.words()} lies beyond its floor or ceiling"
    return ""


def within_limits(evidence: Evidence, proposal: Proposal, config: AdaptConfig) -> Proposal | Unchanged:
    """The proposal, its number moved no further than it may; what that number does is judged anew."""
    bound = proposal.candidate.bound
    if not isinstance(bound, Static):
        return proposal
    value = limited(
        bound.value, evidence.comparison.threshold, config.max_step, config.limits.get(evidence.rule.name)
    )
    if value == bound.value:
        return proposal
    candidate = replace(proposal.candidate, bound=Static(value))
    after = judge(candidate, evidence)
    lost = proposal.before.delays.keys() - after.delays.keys()
    if lost & proposal.after.delays.keys() or after.n_false >= proposal.before.n_false:
        return Unchanged("the limits leave it no better threshold", proposal.before)
    return replace(
        proposal,
        candidate=candidate,
        expr=candidate.bound.rewritten(evidence.rule.expr),
        after=after,
        changes=(*describe(evidence, candidate), "as far as the limits allow"),
    )


def limited(value: float, old: float, max_step: float, limits: RuleLimits | None) -> float:
    """The value, at most `max_step` times the old one's size away from it, between floor and ceiling.

    >>> limited(100.0, 10.0, 4.0, RuleLimits(ceiling=40))
    40.0
    """
    if old != 0:
        value = min(max(value, old - max_step * abs(old)), old + max_step * abs(old))
    if limits is not None and limits.floor is not None:
        value = max(value, limits.floor)
    if limits is not None and limits.ceiling is not None:
        value = min(value, limits.ceiling)
    return value
