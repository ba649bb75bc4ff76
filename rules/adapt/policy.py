"""Which rewrites may be made now, which of them without a person's approval, and which wait in vain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rules.adapt.history import Adapted
from rules.adapt.limits import cooling
from rules.adapt.memory import failed_before
from rules.adapt.plan import edited_since, last_change, rules_told
from rules.adapt.solve import NEVER, Proposal, Unchanged
from sidecar.config.adapt import AdaptConfig
from sidecar.config.unattended import UnattendedConfig
from sidecar.records import RuleRevision


def allowed(
    adapted: Sequence[Adapted],
    revisions: Sequence[RuleRevision],
    config: AdaptConfig,
    now_seconds: float,
    *,
    again: bool = False,
) -> list[Adapted]:
    """Those without rewrites that failed before, or of rules that were edited or changed lately.

    `again`: what failed before is allowed.
    """
    return [_allowed(one, revisions, config, now_seconds, again=again) for one in adapted]


def _allowed(
    one: Adapted,
    revisions: Sequence[RuleRevision],
    config: AdaptConfig,
    now_seconds: float,
    *,
    again: bool,
) -> Adapted:
    if not one.changed:
        return one
    changed = last_change(one.rule, revisions)
    why = (
        edited_since(one.rule, revisions)
        or cooling(config, changed, now_seconds)
        or ("" if again else failed_before(one, revisions))
    )
    return replace(one, outcome=Unchanged(why, one.outcome.before), written=one.rule) if why else one


def divided(adapted: Sequence[Adapted], config: UnattendedConfig) -> tuple[list[Adapted], list[Adapted]]:
    """Rewrites that may go live by themselves, the worst offenders first; and those that wait.

    What the alerts loop asked for waits: it was not solved for. So does what would never fire again.
    """
    changed = sorted((one for one in adapted if one.changed), key=_relief, reverse=True)
    if config.mode != "apply":
        return [], changed
    waiting = [
        one for one in changed if one.told or one.rule.severity in config.ask_for or NEVER in one.changes
    ]
    alone = [one for one in changed if one not in waiting]
    return alone[: config.max_rewrites], waiting


def outdated(waiting: RuleRevision, adapted: Sequence[Adapted]) -> str:
    """Why what waits for a person is not proposed any more; empty where it is, or where nobody knows.

    It is not where each of its rules was judged anew, and is to stay as it is.
    """
    by_key = {one.rule.key: one for one in adapted}
    why = ""
    for told in rules_told(waiting):
        one = by_key.get(str(told["rule"]))
        if one is None or one.changed or one.outcome.before is None:
            return ""
        why = why or f"no longer proposed: {one.why_not}"
    return why


def _relief(one: Adapted) -> int:
    """False alarms that the rewrite saves."""
    found = one.outcome
    return found.before.n_false - found.after.n_false if isinstance(found, Proposal) else 0
