"""Rewrites that did badly or were refused: one like it is not proposed again while the rule is as it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from rules.adapt.bounds import ByHour, Static
from rules.adapt.history import Adapted
from rules.adapt.joined import without_series
from rules.adapt.moving import without_moving
from rules.adapt.plan import rules_told
from rules.adapt.solve import Proposal
from rules.adapt.threshold_series import content_of
from sidecar.promql.threshold import Comparison, parse_comparison
from sidecar.records import RuleRevision

ALIKE = 0.1
"""Numbers that differ by less than this share of the way from the old one are the same again."""

FATES = {"rolled_back": "taken back", "rejected": "refused"}


def failed_before(one: Adapted, revisions: Sequence[RuleRevision]) -> str:
    """Why the rewrite is not proposed once more, with the revision that was like it; empty where none was."""
    for revision in revisions:
        fate = FATES.get(revision.state)
        if fate is None:
            continue
        for told in rules_told(revision):
            if told["rule"] == one.rule.key and _alike(one, told, revision):
                when = datetime.fromtimestamp((revision.live_until_ns or revision.created_at_ns) / 1e9, UTC)
                why = f": {revision.reason}" if revision.reason else ""
                return f"one like it ({revision.content_hash}) was {fate} on {when:%Y-%m-%d}{why}"
    return ""


def _alike(one: Adapted, told: Mapping[str, object], revision: RuleRevision) -> bool:
    if str(told["before"]).split() != one.rule.expr.split():
        return False  # People changed the rule since: it is judged anew.
    assert isinstance(one.outcome, Proposal)
    if _durations(one.changes) != _durations(told["changes"]):
        return False
    bound, old = one.outcome.candidate.bound, _threshold(without_series(one.rule.expr) or one.rule.expr)
    new = _moved_to(told, revision, joined=one.joined)
    if isinstance(bound, Static) and old is not None and new is not None:
        return abs(bound.value - new) <= ALIKE * abs(new - old)
    if one.joined:
        return revision.content == content_of(bound)
    refused = without_moving(replace(one.rule, expr=str(told["after"])))
    if isinstance(bound, ByHour) and old is not None and refused and isinstance(refused[1], ByHour):
        ours, theirs = (np.array(each.table.by_hour()) for each in (bound, refused[1]))
        return bool(np.abs(ours - theirs).max() <= ALIKE * np.abs(theirs - old).max())
    return str(told["after"]).split() == one.written.expr.split()


def _durations(changes: object) -> list[str]:
    words = changes if isinstance(changes, list | tuple) else ()
    return [str(word) for word in words if str(word).startswith(("for ", "keep_firing_for "))]


def _moved_to(told: Mapping[str, object], revision: RuleRevision, *, joined: bool) -> float | None:
    """The number that it had been moved to; None where it was a table or a line."""
    if told.get("form") != Static.form:
        return None
    if joined:
        return float(json.loads(revision.content)["value"])
    return _threshold(str(told["after"]))


def _threshold(expr: str) -> float | None:
    comparison = parse_comparison(expr)
    return comparison.threshold if isinstance(comparison, Comparison) else None
