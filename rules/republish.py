"""A revision that was live once, by mistake taken back or replaced, put live again."""

from __future__ import annotations

from rules.adapt.place import is_adapted
from rules.lint import refuse_faults
from rules.read import read_text
from rules.revise import Reviser, failed_live, file_of
from rules.validate import check
from sidecar.errors import RuleError, RuleReason
from sidecar.records import RuleRevision


async def republish(reviser: Reviser, revision: RuleRevision, *, approver: str) -> RuleRevision:
    """The revision's text checked and live again, as a revision of its own; the one that is live is replaced.

    What was live once was proved by that, and is at once; what never was more than a shadow is one again.
    Raises: RuleError; the rules are as they were then.
    """
    live = await _replaceable(reviser, revision)
    evidence = {name: told for name, told in revision.evidence.items() if name != "canary_seconds"}
    return await reviser.publish(
        file_of(revision),
        {**evidence, "approver": approver},
        live,
        at_once=revision.state != "rejected",
    )


async def checked(reviser: Reviser, revision: RuleRevision, *, promtool: str) -> tuple[str, dict[str, str]]:
    """What stands in the group's place now, and how the revision's text was checked; nothing is changed.

    Raises: RuleError where it would not be published.
    """
    await _replaceable(reviser, revision)
    checks = await check(revision.content, promtool=promtool)
    checks["lint"] = refuse_faults(read_text(revision.content))
    return await reviser.publisher.text(revision.group) or "", checks


async def _replaceable(reviser: Reviser, revision: RuleRevision) -> RuleRevision | None:
    """What is live of the group, and may be replaced. Raises: RuleError."""
    name, group = revision.content_hash, revision.group
    if is_adapted(group):
        raise RuleError(
            RuleReason.NOT_APPLICABLE,
            f"{name} rewrites people's own rules, which may be others now: pronoia rules plan, then apply",
        )
    history = await reviser.history(group)
    live = next((one for one in history if one.state == "live"), None)
    if live is not None and live.content == revision.content:
        raise RuleError(RuleReason.NOT_APPLICABLE, f"{name} is live")
    if any(one.state == "canary" for one in history):
        raise RuleError(
            RuleReason.NOT_APPLICABLE,
            f"{group} has a shadow, which may soon be live: pronoia rules rollback {group} takes it away",
        )
    if revision.state != "superseded" and not failed_live(revision):
        raise RuleError(
            RuleReason.NOT_APPLICABLE,
            f"{name} never ran ({revision.state}): {revision.reason or 'no reason'}",
        )
    if name not in revision.content:
        raise RuleError(
            RuleReason.NOT_APPLICABLE, f"{name} was found in its place, and not written by pronoia"
        )
    await reviser.in_place(group, history)
    return live
