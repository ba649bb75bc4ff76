"""What generated rules cost and would have done in the last days, asked of the source before publishing."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rules.adapt.bounds import hour_of_week
from rules.adapt.buckets import last_bucket
from rules.adapt.whole import most_of
from rules.backtest.firing import firings
from rules.backtest.past import BackTester, Window
from rules.document import camel
from rules.learn import HOURS, Threshold, Thresholds
from rules.read import WrittenRule, read_text
from sidecar.errors import PullError, RuleError, RuleReason
from sidecar.ports import Source
from sidecar.promql.syntax import Syntax, selectors
from sidecar.promql.threshold import Comparison
from sidecar.series import BoolArray, SeriesBatch

DAYS = 7.0
MAX_SAMPLES = 2_000_000
"""A sidecar's memory bounds what may be read: 16 MB."""

MAX_ALERTS = 1_000
SLOW_SHARE = 0.5
"""A rule that takes this share of its group's interval to evaluate starves the others of it."""

FREE_SECONDS = 5.0
"""Within this nothing is held against a rule, however short its interval is: machines are busy at times."""

ATTEMPTS = 3
USUAL_INTERVAL_SECONDS = 60.0
ALERTS = ("ALERTS", "ALERTS_FOR_STATE")


def too_slow(seconds: float, interval_seconds: float) -> bool:
    """Whether a rule takes so long that it should not be evaluated at that interval.

    >>> too_slow(6.0, 15.0), too_slow(8.0, 15.0), too_slow(0.9, 1.0)
    (False, True, False)
    """
    return seconds > max(SLOW_SHARE * interval_seconds, FREE_SECONDS)


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found: seconds of the slowest rule, most alerts at once, and firings a day by alert.

    `cannot_fire`: of which series it can tell nothing, and why; empty where there are none.
    """

    slowest_seconds: float
    most_alerts: int
    firings_per_day: dict[str, float]
    cannot_fire: str = ""

    def words(self) -> dict[str, str]:
        """For the revision's checks."""
        told = ", ".join(f"{name} {n:.2g}" for name, n in sorted(self.firings_per_day.items()))
        return {
            "cost": f"the slowest rule takes {self.slowest_seconds * 1000:.0f} ms",
            "cardinality": f"at most {self.most_alerts} alerts at once",
            "back-test": f"firings a day: {told}" if told else "none of its alerts has a past to tell of",
            **({"cannot fire": self.cannot_fire} if self.cannot_fire else {}),
        }


class Prover:
    """Proves rule files against one source, with a bounded number of samples and one question at a time."""

    def __init__(self, source: Source, *, now: Callable[[], float] = time.time) -> None:
        self._source = source
        self._tester = BackTester(source, max_samples=MAX_SAMPLES, at_once=1)
        self._now = now

    async def prove(self, text: str, thresholds: Thresholds | None = None) -> Proof:
        """Of a rule file; `thresholds`: those that it was rendered from, where it was learned.

        Raises: RuleError (check failed) for a rule that is too slow, or gives too many alerts.
        """
        rules = read_text(text)
        slowest, most = await self._cost(rules)
        if thresholds is None:
            return Proof(slowest, most, await self._of_alerts(rules))
        past = await self._of_thresholds(thresholds)
        return Proof(slowest, most, past, await self._beyond_buckets(thresholds))

    async def _beyond_buckets(self, thresholds: Thresholds) -> str:
        """Which series' upper bounds no quantile of their histogram goes beyond, in words."""
        query = thresholds.query
        last = await last_bucket(query.expr, self._tester, self._window(USUAL_INTERVAL_SECONDS))
        most = most_of(Comparison(query.expr, ">", math.inf), last)
        hours = [sum(bound >= most for bound in one.by_hour()) for one in thresholds.above]
        if math.isinf(last) or not any(hours):
            return ""
        always = sum(n == HOURS for n in hours)
        at_times = sum(0 < n < HOURS for n in hours)
        when = [f"{n} at {times}" for n, times in ((always, "any time"), (at_times, "some hours")) if n]
        return (
            f"of {len(hours)} series above what is expected {', '.join(when)}: the last finite bucket ends "
            f"at {last:g}, which no quantile goes beyond; give the histogram a longer one"
        )

    async def _cost(self, rules: Sequence[WrittenRule]) -> tuple[float, int]:
        slowest, most = 0.0, 0
        for rule in rules:
            seconds, batch = await self._timed(rule)
            interval = rule.interval_seconds or USUAL_INTERVAL_SECONDS
            if too_slow(seconds, interval):
                raise RuleError(
                    RuleReason.CHECK_FAILED,
                    f"{rule.name}: takes {seconds:.1f} s, and is evaluated every {interval:g} s",
                )
            slowest = max(slowest, seconds)
            if rule.alerting:
                most = max(most, batch.n_series)
        if most > MAX_ALERTS:
            raise RuleError(RuleReason.CHECK_FAILED, f"gives {most} alerts at once")
        return slowest, most

    async def _timed(self, rule: WrittenRule) -> tuple[float, SeriesBatch]:
        """How long the rule takes at best: a machine that is busy just now says nothing of a rule."""
        best = float("inf")
        for _ in range(ATTEMPTS):
            began = time.monotonic()
            batch = await self._ask(rule)
            best = min(best, time.monotonic() - began)
            if best <= FREE_SECONDS:
                break
        return best, batch

    async def _ask(self, rule: WrittenRule) -> SeriesBatch:
        at_ms = int(self._now() * 1000)
        try:
            return await self._source.instant(
                rule.expr, at_ms=at_ms, name=rule.name, max_series=100 * MAX_ALERTS
            )
        except PullError as error:
            if error.retryable:
                raise RuleError(RuleReason.UNREACHABLE, str(error)) from error
            raise RuleError(RuleReason.CHECK_FAILED, f"{rule.name}: {error}") from error

    async def _of_alerts(self, rules: Sequence[WrittenRule]) -> dict[str, float]:
        """Of alerts whose series are there already: not those of what the same file records."""
        new = {rule.name for rule in rules if not rule.alerting} | set(ALERTS)
        told = [
            rule for rule in rules if rule.alerting and not new & set(selectors(Syntax.parse(rule.expr).tree))
        ]
        window = self._window(USUAL_INTERVAL_SECONDS)
        pasts = await self._tester.all(told, window)
        return {
            past.rule.name: _n_together([(one.start_ms, one.end_ms) for one in past.firings]) / window.days
            for past in pasts
            if not past.error
        }

    async def _of_thresholds(self, thresholds: Thresholds) -> dict[str, float]:
        """Of the alerts on literals: the numbers by hour of week held against what was measured."""
        query = thresholds.query
        window = self._window(max(query.step, USUAL_INTERVAL_SECONDS))
        try:
            batch = await self._tester.values(query.expr, query.name, window)
        except (PullError, RuleError):
            return {}  # Too wide for a sidecar: it is published, and not judged by its volume.
        sides = {"Above": (thresholds.above, np.greater), "Below": (thresholds.below, np.less)}
        found = {}
        for side, (members, holds) in sides.items():
            if members:
                active = await asyncio.to_thread(_beyond, batch, members, holds)
                found_by_row = firings(active, batch.timestamps, for_seconds=query.rule_for)
                n = _n_together([(one.start_ms, one.end_ms) for one in found_by_row])
                # Live thresholds are tighter than the literals: as many points beyond them as the budget has.
                budget = len(members) * query.false_alarms / 30
                found[f"{camel(query.name)}{side}Expected"] = n / window.days + budget
        return found

    def _window(self, step_seconds: float) -> Window:
        step_ms = round(step_seconds * 1000)
        end_ms = round(self._now() * 1000) // step_ms * step_ms
        return Window(end_ms - round(DAYS * 86_400_000) // step_ms * step_ms, end_ms, step_ms)


def _beyond(batch: SeriesBatch, members: Sequence[Threshold], holds: np.ufunc) -> BoolArray:
    """(N, T) where a series is beyond the threshold of its labels; those without one never are."""
    hours = hour_of_week(batch.timestamps)
    beyond = np.zeros(batch.values.shape, dtype=np.bool_)
    bounds = {threshold.labels: np.array(threshold.by_hour())[hours] for threshold in members}
    for row, labels in enumerate(batch.labels):
        if labels in bounds:
            beyond[row] = holds(batch.values[row], bounds[labels])
    return beyond


def _n_together(spans: list[tuple[int, int]]) -> int:
    """Spans that overlap count as one."""
    n, until = 0, -1
    for begin, end in sorted(spans):
        n += begin > until
        until = max(until, end)
    return n
