"""Rewrites that are live or shadows, watched: taken back, or promoted, by how they do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge

from rules.adapt.adapted import AdaptedRules
from rules.adapt.canary import GROUP, LABEL
from rules.adapt.place import is_place
from rules.adapt.plan import rules_told
from rules.adapt.threshold_series import ThresholdSeries
from rules.incidents import KnownIncident
from rules.live import no_incidents
from rules.prove import too_slow
from rules.revise import RuleMetrics
from rules.volume import as_number, n_firings, told_by_others, too_many
from sidecar.background import Background
from sidecar.config.adapt import AdaptConfig
from sidecar.errors import RuleError, RuleReason, SidecarError
from sidecar.events import Event, EventBus
from sidecar.ports import Source
from sidecar.prometheus.answers import Rule
from sidecar.records import RuleRevision
from sidecar.telemetry import get_logger

LOOK_SECONDS = 60.0
PAGES_SECONDS = 3600.0
WEEK_SECONDS = 7 * 86_400.0


class WatchedServer(Source, Protocol):
    """What the watch asks of Prometheus; `PrometheusClient` has it."""

    async def rules(self) -> list[Rule]:
        """What is loaded. Raises: PullError."""
        ...


class RewriteMetrics:
    """What the watch tells of the rules' volume."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.pages = Gauge(
            "pronoia_rules_pages_last_week",
            "Firings of a team's rules in the last seven days, where a budget is set.",
            ["team"],
            registry=registry,
        )
        self.budget = Gauge(
            "pronoia_rules_pages_budget",
            "Firings a week that a team's rules are solved for, where it is set.",
            ["team"],
            registry=registry,
        )


class RewriteWatch:
    """Looks once a minute at every rewrite, while the process runs."""

    def __init__(
        self,
        rules: AdaptedRules,
        series: ThresholdSeries,
        server: WatchedServer,
        config: AdaptConfig,
        *,
        bus: EventBus,
        rule_metrics: RuleMetrics,
        metrics: RewriteMetrics,
        incidents: Callable[[], Awaitable[Sequence[KnownIncident]]] = no_incidents,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules
        self._series = series
        self._server = server
        self._config = config
        self._bus = bus
        self._rule_metrics = rule_metrics
        self._metrics = metrics
        self._incidents = incidents
        self._now = now
        self._log = get_logger("rules-watch")
        self._task = Background("rules-watch")

    def start(self) -> None:
        """Start looking, on the running event loop."""
        self._task.start(self._run())

    async def stop(self) -> None:
        """Look no more."""
        await self._task.stop()

    async def look(self) -> None:
        """Judge every rewrite once.

        Raises: PullError where Prometheus does not answer, which proves nothing about a rule.
        """
        try:
            await self._rules.recover()
        except RuleError as error:
            self._log.warning("interrupted rewrite not undone, will try again", err=str(error))
        watched = [*await self._rules.watched(), *await self._series.live()]
        if not watched:
            return
        loaded = await self._server.rules()
        for revision in watched:
            why = _unwell(revision, loaded) or await self._too_loud(revision)
            try:
                await self._act(revision, why)
            except RuleError as error:
                self._log.warning("rewrite left as it is", group=revision.group, err=str(error))
                if revision.state == "canary" and error.reason == RuleReason.HAND_EDITED.value:
                    await self._rules.end_shadow(revision, str(error))

    async def count_pages(self) -> None:
        """Set each team's firings of the last week, where a budget is set. Raises: PullError."""
        for team, budget in self._config.pages_per_week.items():
            matchers = {self._config.team_label: team, LABEL[0]: ""}
            n = await n_firings(self._server, matchers, WEEK_SECONDS, self._now())
            self._metrics.pages.labels(team).set(n)
            self._metrics.budget.labels(team).set(budget)
            if n > budget:
                self._log.info("more pages than budgeted", team=team, pages=n, budget=budget)

    async def _run(self) -> None:
        counted = -PAGES_SECONDS
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
                if time.monotonic() - counted >= PAGES_SECONDS:
                    counted = time.monotonic()
                    await self.count_pages()
            except SidecarError as error:
                self._log.warning("rewrites not looked at, will try again", err=str(error))
            except Exception:
                # The loop's edge: a fault here must not end the watch.
                self._log.exception("watch over rewrites broke off")

    async def _act(self, revision: RuleRevision, why: str) -> None:
        if revision.state == "canary":
            if why:
                await self._rules.end_shadow(revision, why)
                self._rule_metrics.canary_failed.inc()
                self._tell("rules.canary_failed", revision, why)
            elif self._age(revision) >= as_number(revision.evidence.get("canary_seconds")):
                await self._rules.promote(revision)
                self._tell("rules.promoted", revision, "the shadow did as its back-test said")
        elif why:
            if is_place(revision.group):
                await self._rules.take_back(revision.group, why)
            else:
                await self._series.take_back(revision.group, why)
            self._rule_metrics.rolled_back.inc()
            self._tell("rules.rolled_back", revision, why)

    async def _too_loud(self, revision: RuleRevision) -> str:
        """Which rule fires far more than its back-test said; empty where none does."""
        seconds = self._age(revision)
        shadow = LABEL[1] if revision.state == "canary" else ""
        incidents = await self._incidents()
        for told in rules_told(revision):
            if "firings_per_day" not in told:
                continue
            alert = str(told["name"])
            n = await n_firings(
                self._server,
                {"alertname": alert, LABEL[0]: shadow},
                seconds,
                self._now(),
                besides=told_by_others(incidents, alert),
            )
            expected = as_number(told.get("firings_per_day")) * seconds / 86_400
            if too_many(n, expected, self._config.max_firing_ratio):
                return (
                    f"{told['name']} fired {n} times in {seconds / 3600:.1f} h, {expected:.1f} were expected"
                )
        return ""

    def _age(self, revision: RuleRevision) -> float:
        return self._now() - (revision.live_from_ns or 0) / 1e9

    def _tell(self, kind: str, revision: RuleRevision, why: str) -> None:
        self._log.warning(kind, group=revision.group, revision=revision.content_hash, why=why)
        facts = {"group": revision.group, "revision": revision.content_hash, "why": why}
        self._bus.publish(Event(kind, self._now(), facts))


def _unwell(revision: RuleRevision, loaded: list[Rule]) -> str:
    """Which of its rules errs or is slow; empty where none is."""
    names = {str(told["name"]) for told in rules_told(revision)}
    shadow = revision.state == "canary"
    for rule in loaded:
        if rule.name not in names or rule.group.startswith(GROUP) != shadow:
            continue
        if rule.health == "err":
            return f"{rule.name}: {rule.last_error}"
        if rule.interval_seconds and too_slow(rule.evaluation_seconds, rule.interval_seconds):
            return f"{rule.name} takes {rule.evaluation_seconds:.1f} s to evaluate"
    return ""
