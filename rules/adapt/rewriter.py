"""A plan on its way into its place: cost, unit tests, shadow or live; whoever approved it."""

from __future__ import annotations

from dataclasses import replace

from rules.adapt.adapted import AdaptedRules
from rules.adapt.canary import rewrites_of
from rules.adapt.change import Change
from rules.adapt.plan import Plan, check_cost
from rules.adapt.proof import unit_tests
from rules.backtest.past import Window
from rules.validate import run_tests
from sidecar.config.model import RulesConfig
from sidecar.errors import RuleError, RuleReason
from sidecar.ports import Source
from sidecar.records import RuleRevision

RULE_FILE = "rewritten.rules.yaml"


class Rewriter:
    """Puts plans into their places, or lets them wait."""

    def __init__(self, rules: AdaptedRules, source: Source, config: RulesConfig) -> None:
        self._rules = rules
        self._source = source
        self._config = config

    async def put(self, plan: Plan, window: Window, *, approver: str) -> RuleRevision:
        """Check the plan and put it live, or beside the live rules where `canary` is set.

        Raises: RuleError; the place is as it was then.
        """
        evidence = await self._evidence(plan, window)
        change = Change(plan.group, plan.before, plan.after, plan.rewrites, evidence, approver)
        return await self._go(change, at_ms=window.end_ms)

    async def propose(self, plan: Plan, window: Window) -> RuleRevision | None:
        """Remember the plan until a person approves it; None: it waits already, or was refused.

        Raises: RuleError.
        """
        evidence = await self._evidence(plan, window)
        return await self._rules.propose(Change(plan.group, plan.before, plan.after, plan.rewrites, evidence))

    async def approve(self, revision: RuleRevision, *, approver: str, at_ms: int) -> RuleRevision:
        """A proposal that waited, on its way; what people wrote elsewhere in the place meanwhile stays.

        Raises: RuleError, hand edited where the rules themselves were changed since.
        """
        if revision.state != "proposed":
            raise RuleError(
                RuleReason.NOT_APPLICABLE,
                f"revision {revision.content_hash} is {revision.state}, not proposed",
            )
        rewrites = rewrites_of(revision)
        before, after = await self._rules.rebased(revision)
        evidence = {**revision.evidence, "proposal": revision.revision_id}
        done = await self._go(
            Change(revision.group, before, after, rewrites, evidence, approver), at_ms=at_ms
        )
        await self._rules.note(revision, "superseded", f"approved by {approver}")
        return done

    async def _evidence(self, plan: Plan, window: Window) -> dict[str, object]:
        tests = unit_tests(plan.adapted, RULE_FILE)
        evidence: dict[str, object] = {
            **plan.evidence(window),
            "tests": tests.text,
            "no unit test": tests.left_out,
        }
        if tests.text:
            promtool = self._config.promtool
            evidence["unit tests"] = await run_tests(
                plan.after, tests.text, rule_file=RULE_FILE, promtool=promtool
            )
        return evidence

    async def _go(self, change: Change, *, at_ms: int) -> RuleRevision:
        cost = await check_cost(change.rewrites, self._source, at_ms=at_ms)
        costed = replace(change, evidence={**change.evidence, **cost})
        seconds = self._config.adapt.canary
        if seconds:
            return await self._rules.shadow(costed, seconds=seconds)
        return await self._rules.publish(costed)
