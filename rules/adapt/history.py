"""Rules adapted on a source's history: what each measures is read once, and every candidate judged on it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ParamSpec, Protocol, TypeVar

from rules.adapt.bounds import Bound, ByHour, Static, Trend
from rules.adapt.buckets import last_bucket
from rules.adapt.grouping import grouping_of, with_grouping
from rules.adapt.joined import joined_key, series_key, without_series
from rules.adapt.judge import Evidence, Verdict
from rules.adapt.limits import within_limits
from rules.adapt.moving import without_moving
from rules.adapt.search import Objective
from rules.adapt.solve import Proposal, Unchanged, keeps_to, solve
from rules.adapt.suspected import suspected
from rules.adapt.told import ToldChange, by_alert, tried
from rules.backtest.past import BackTester, Window
from rules.incidents import KnownIncident
from rules.read import WrittenRule, taken_apart
from sidecar.config.adapt import AdaptConfig
from sidecar.errors import PullError, RuleError
from sidecar.promql.threshold import Comparison

EASE = tuple(2 ** (half / 2) for half in range(13))
"""So many times its false alarms a rule may be allowed where all rules together are quiet enough: 1 to 64."""

P = ParamSpec("P")
T = TypeVar("T")

OTHERS_SERIES = (
    "it is joined with the series of another group, name or labels, as it had before; "
    "join it anew (pronoia rules join --back, then join)"
)

TWIN = (
    "another alert of its group has its name and labels, so nobody could tell which of them was rewritten, "
    "or fires; give each a label of its own"
)

KEEP_FIRING_SINCE = (2, 42)
"""Prometheus 2.42.0 brought keep_firing_for."""


@dataclass(frozen=True)
class Adapted:
    """One rule and what became of it; `written`: the rule from now on, the old one where unchanged.

    `joined`: its threshold is a series, so that nothing is written but that series' value.
    `told`: why the alerts loop asked for it; empty where the rule's own past did.
    """

    rule: WrittenRule
    outcome: Proposal | Unchanged
    written: WrittenRule
    joined: bool = False
    told: str = ""

    @property
    def changed(self) -> bool:
        """True where a rewrite is proposed."""
        return isinstance(self.outcome, Proposal)

    @property
    def seen(self) -> Verdict | None:
        """How the rule as it is to be did on the history; None where it could not be judged."""
        return self.outcome.after if isinstance(self.outcome, Proposal) else self.outcome.before

    @property
    def changes(self) -> tuple[str, ...]:
        """What the rewrite changes, in words; empty where none is proposed."""
        return self.outcome.changes if isinstance(self.outcome, Proposal) else ()

    @property
    def why_not(self) -> str:
        """Why no rewrite is proposed; empty where one is."""
        return self.outcome.why if isinstance(self.outcome, Unchanged) else ""


@dataclass(frozen=True)
class Choice:
    """What may become of one rule, the quietest first; `evidence` where it may have to be solved anew."""

    options: tuple[Adapted, ...]
    evidence: Evidence | None = None


class InThread(Protocol):
    """Does work in a thread, as `asyncio.to_thread` does."""

    async def __call__(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The work's result."""
        ...


class Adapter:
    """Proposes rewrites of rules from their past, within the limits that the configuration sets.

    `run`: does what computes for seconds, and changes nothing.
    """

    def __init__(
        self,
        tester: BackTester,
        config: AdaptConfig,
        *,
        knows_keep_firing: bool = True,
        run: InThread = asyncio.to_thread,
    ) -> None:
        self._tester = tester
        self._config = config
        self._knows_keep_firing = knows_keep_firing
        self._run = run

    async def all(
        self,
        rules: Sequence[WrittenRule],
        window: Window,
        incidents: Sequence[KnownIncident],
        *,
        thresholds: Mapping[str, float] | None = None,
        told: Sequence[ToldChange] = (),
        on_done: Callable[[Adapted], object] = lambda _: None,
    ) -> list[Adapted]:
        """What becomes of every alerting rule, in order.

        `thresholds`: by rule's key, the values of those that are series now. `told`: durations that
        the alerts loop asks for, tried where the rule's own past asks for nothing.
        """
        choices = await self.choices(
            rules, window, incidents, thresholds=thresholds, told=told, on_done=on_done
        )
        found = loosest_enough(choices, self._config.enough)
        evidence = {one.rule.key: each.evidence for one, each in zip(found, choices, strict=True)}
        for team, pages in self._config.pages_per_week.items():
            found = await self._within_pages(found, evidence, team, pages)
        return found

    async def choices(
        self,
        rules: Sequence[WrittenRule],
        window: Window,
        incidents: Sequence[KnownIncident],
        *,
        thresholds: Mapping[str, float] | None = None,
        told: Sequence[ToldChange] = (),
        on_done: Callable[[Adapted], object] = lambda _: None,
    ) -> list[Choice]:
        """What may become of every alerting rule, in order: one option, or more where `enough` is set."""
        asked_for = by_alert(told)
        found: list[Choice] = []
        n_of = Counter(rule.key for rule in rules if rule.alerting)
        for rule in rules:
            if rule.alerting:
                plain = without_series(rule.expr, (thresholds or {}).get(rule.key))
                moving = without_moving(rule)
                read: Evidence | Unchanged
                if n_of[rule.key] > 1:
                    read = Unchanged(TWIN)
                elif plain is not None and joined_key(rule.expr) != series_key(rule.key):
                    read = Unchanged(OTHERS_SERIES)
                elif moving is not None:
                    read = await self._read(*moving, window, incidents)
                else:
                    asked = rule if plain is None else replace(rule, expr=plain)
                    read = await self._read(asked, None, window, incidents)
                found.append(await self._choice(rule, read, asked_for.get(rule.name)))
                on_done(found[-1].options[0])
        return found

    async def _choice(
        self, rule: WrittenRule, read: Evidence | Unchanged, change: ToldChange | None
    ) -> Choice:
        if isinstance(read, Unchanged):
            joined = without_series(rule.expr) is not None
            return Choice((Adapted(rule, read, rule, joined=joined),))
        options: list[Adapted] = []
        for factor in EASE if self._config.enough is not None else EASE[:1]:
            # An eased budget is a generous one already; nothing comes on top of it by chance.
            budget, strict = factor * self._budget(rule), factor > 1
            adapted = await self._solved(read, rule, budget, strict=strict)
            if change is not None and not adapted.changed and not adapted.joined:
                adapted = await self._told(read, rule, change)
            options.append(adapted)
            before = adapted.outcome.before
            if before is None or keeps_to(budget, before, strict=strict):
                break  # With more false alarms allowed nothing else would come of it.
        again = rule.labels.get(self._config.team_label) in self._config.pages_per_week
        return Choice(tuple(options), read if again else None)  # Of others nothing is kept.

    async def _read(
        self,
        rule: WrittenRule,
        moving: Bound | None,
        window: Window,
        incidents: Sequence[KnownIncident],
    ) -> Evidence | Unchanged:
        comparison = taken_apart(rule)
        if not isinstance(comparison, Comparison):
            return Unchanged(comparison)
        try:
            batch = await self._tester.values(measured_side(comparison), rule.name, window)
        except (PullError, RuleError) as error:
            return Unchanged(str(error))
        inside = tuple(i for i in incidents if i.start_ms < window.end_ms and i.end_ms > window.start_ms)
        told = Evidence(
            rule,
            comparison,
            batch.labels,
            batch.timestamps,
            batch.values,
            inside,
            moving,
            await last_bucket(comparison.measured, self._tester, window),
        )
        return replace(told, incidents=(*inside, *await self._run(suspected, told)))

    async def _solved(
        self, evidence: Evidence, rule: WrittenRule, max_false_per_month: float, *, strict: bool = False
    ) -> Adapted:
        """`rule`: as it is written; the evidence has it with its threshold as a number."""
        joined = without_series(rule.expr) is not None
        objective = Objective(
            max_false_per_month,
            self._config.min_history / 86_400,
            self._knows_keep_firing,
            only_threshold=joined,
            miss_cost=self._config.miss_cost.get(rule.severity),
            forms=allowed_forms(self._config),
            strict=strict,
        )
        outcome = await self._run(self._outcome, evidence, objective)
        return Adapted(rule, outcome, rewritten(evidence.rule if joined else rule, outcome), joined=joined)

    async def _told(self, evidence: Evidence, rule: WrittenRule, change: ToldChange) -> Adapted:
        outcome = await self._run(tried, evidence, change, knows_keep_firing=self._knows_keep_firing)
        if isinstance(outcome, Proposal):
            outcome = replace(outcome, expr=rule.expr)  # Its threshold stays, be it a table or a line.
        return Adapted(rule, outcome, rewritten(rule, outcome), told=change.reason)

    def _outcome(self, evidence: Evidence, objective: Objective) -> Proposal | Unchanged:
        may_group = self._config.grouping and not objective.only_threshold
        grouping = grouping_of(evidence) if may_group else None
        if grouping is None:
            return self._limited(evidence, objective)
        solved = self._limited(grouping.evidence, objective)
        return with_grouping(evidence, grouping, solved)

    def _limited(self, evidence: Evidence, objective: Objective) -> Proposal | Unchanged:
        solved = solve(evidence, objective)
        if isinstance(solved, Unchanged):
            return solved
        return within_limits(evidence, solved, self._config, objective)

    def _budget(self, rule: WrittenRule) -> float:
        return self._config.false_alarms(rule.severity)

    async def _within_pages(
        self, found: list[Adapted], evidence: dict[str, Evidence | None], team: str, pages_per_week: float
    ) -> list[Adapted]:
        """The noisiest rule of the team is asked for half as many false alarms, until the team's sum fits."""
        budgets = {a.rule.key: self._budget(a.rule) for a in found}
        ours = [a.rule.key for a in found if a.rule.labels.get(self._config.team_label) == team]
        while True:
            loudest = max(
                (a for a in found if a.rule.key in ours and evidence[a.rule.key] is not None),
                key=_pages_per_week,
                default=None,
            )
            sum_now = sum(_pages_per_week(a) for a in found if a.rule.key in ours)
            if loudest is None or sum_now <= pages_per_week:
                return found
            key = loudest.rule.key
            known = evidence[key]
            assert known is not None
            budgets[key] = min(budgets[key], _pages_per_week(loudest) * 30 / 7) / 2
            again = await self._solved(known, loudest.rule, budgets[key], strict=True)
            if _pages_per_week(again) >= _pages_per_week(loudest) or budgets[key] < 0.1:
                evidence[key] = None  # It gives no more.
            else:
                found = [again if a.rule.key == key else a for a in found]


def allowed_forms(config: AdaptConfig) -> frozenset[str]:
    """The forms that a threshold may get."""
    forbidden = {ByHour.form: not config.tables, Trend.form: not config.lines}
    return frozenset(form for form in (Static.form, *forbidden) if not forbidden.get(form))


def loosest_enough(choices: Sequence[Choice], enough: float | None) -> list[Adapted]:
    """The same ease for each rule: the most with which all together fire less by that share.

    The quietest where none has it, or nothing is said. One ease for all, since an even share of what may
    fire makes none of them blind for the sake of others.
    """
    most = max((len(choice.options) for choice in choices), default=1) if enough is not None else 1
    for ease in reversed(range(most)):
        found = [choice.options[min(ease, len(choice.options) - 1)] for choice in choices]
        if ease == 0 or _fall(found) >= (enough or 0.0):
            return found
    return []


def _fall(found: Sequence[Adapted]) -> float:
    """The share of the firings on the history that is gone."""
    before = sum(one.outcome.before.n_firings for one in found if one.outcome.before is not None)
    after = sum(one.seen.n_firings for one in found if one.seen is not None)
    return 1 - after / before if before else 1.0


def measured_by(rule: WrittenRule) -> str | None:
    """PromQL of what the rule compares with its threshold; None where it cannot be taken apart."""
    comparison = taken_apart(rule)
    return measured_side(comparison) if isinstance(comparison, Comparison) else None


def measured_side(comparison: Comparison) -> str:
    """What is compared, where the conditions hold: they only choose series, so they may go first."""
    return "\n".join((f"({comparison.measured}\n)", *comparison.conditions))


def pages_by_team(found: Sequence[Adapted], team_label: str) -> dict[str, float]:
    """Firings a week of each team's rules as they are to be, on the history that they were adapted on."""
    pages: dict[str, float] = {}
    for adapted in found:
        team = adapted.rule.labels.get(team_label)
        if team:
            pages[team] = pages.get(team, 0.0) + _pages_per_week(adapted)
    return pages


def _pages_per_week(adapted: Adapted) -> float:
    seen = adapted.seen
    return seen.n_firings * 7 / seen.days if seen is not None and seen.days else 0.0


def rewritten(rule: WrittenRule, outcome: Proposal | Unchanged) -> WrittenRule:
    """The rule with the proposal in it: name and labels stay, so that Prometheus carries its state over."""
    if isinstance(outcome, Unchanged):
        return rule
    return replace(
        rule,
        expr=outcome.expr,
        for_seconds=outcome.candidate.for_seconds,
        keep_firing_seconds=outcome.candidate.keep_firing_seconds,
    )


def knows_keep_firing(version: str) -> bool:
    """Whether a Prometheus of that version has keep_firing_for; True where a server does not say what it is.

    >>> knows_keep_firing("2.41.0"), knows_keep_firing("v3.1"), knows_keep_firing("")
    (False, True, True)
    """
    parts = version.removeprefix("v").split(".")[:2]
    if len(parts) < 2 or not all(part.isdigit() for part in parts):
        return True
    return (int(parts[0]), int(parts[1])) >= KEEP_FIRING_SINCE
