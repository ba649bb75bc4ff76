"""Rewrites that are live or shadows, watched: taken back, or promoted, by how they do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from prometheus_client import CollectorRegistry, Gauge

from rules.adapt.adapted import AdaptedRules
from rules.adapt.canary import GROUP, LABEL
from rules.adapt.limits import frozen
from rules.adapt.place import is_place
from rules.adapt.plan import carried, rules_told
from rules.adapt.threshold_series import ThresholdSeries
from rules.incidents import KnownIncident
from rules.live import no_incidents
from rules.metrics import RuleMetrics
from rules.prove import too_slow
from rules.read import WrittenRule, of_server
from rules.volume import as_number, n_firings, n_firings_itself, told_by_others, too_many
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
"""A rewrite that did well for longer is judged by its last week: all its past each minute is dear to read."""

Loaded = dict[tuple[str, bool], Rule]
Told = Mapping[str, object]


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
        self._known: Sequence[KnownIncident] = ()
        self._told: dict[str, str] = {}
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
        loaded = _by_key(await self._server.rules())
        self._known = await self._incidents()
        for revision in watched:
            try:
                await self._judge(revision, loaded)
            except RuleError as error:
                if self._told.get(revision.group) != str(error):
                    self._log.warning("rewrite left as it is", group=revision.group, err=str(error))
                self._told[revision.group] = str(error)
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

    async def _judge(self, revision: RuleRevision, loaded: Loaded) -> None:
        """One revision, and the rewrites of earlier ones that stand in its place still."""
        why = ""
        for told in rules_told(revision):
            why = why or await self._fault(told, revision.live_from_ns, loaded, revision.state)
        await self._act(revision, why or await self._unseen(revision, loaded))
        for told in () if why else carried(revision):
            why = await self._fault(told, told.get("since_ns"), loaded, revision.state)
            if why:
                await self._rules.take_back_one(revision, told, why)
                self._rule_metrics.rolled_back.inc()
                self._tell("rules.rolled_back", revision, why)
                return  # What is live now is another revision; the others' turn comes with it.

    async def _act(self, revision: RuleRevision, why: str) -> None:
        if revision.state == "canary":
            if why:
                await self._rules.end_shadow(revision, why)
                self._rule_metrics.canary_failed.inc()
                self._tell("rules.canary_failed", revision, why)
            elif self._over(revision) and not frozen(self._config, self._now()):
                await self._rules.promote(revision)
                self._tell("rules.promoted", revision, "the shadow did as its back-test said")
        elif why:
            if is_place(revision.group):
                await self._rules.take_back(revision.group, why)
            else:
                await self._series.take_back(revision.group, why)
            self._rule_metrics.rolled_back.inc()
            self._tell("rules.rolled_back", revision, why)

    async def _unseen(self, revision: RuleRevision, loaded: Loaded) -> str:
        """Why a shadow whose time is over has proved nothing; empty where it ran, or its rules are live."""
        if revision.state != "canary" or not self._over(revision):
            return ""
        if all((str(told["rule"]), True) in loaded for told in rules_told(revision)):
            return ""
        live = await self._rules.live(revision.group)
        went_live = live is not None and live.evidence.get("shadow") == revision.revision_id
        return "" if went_live else "it is not loaded, so nobody knows how it does"

    def _over(self, revision: RuleRevision) -> bool:
        """Whether a shadow has run for as long as it was to."""
        return self._age(revision.live_from_ns) >= as_number(revision.evidence.get("canary_seconds"))

    async def _fault(self, told: Told, since_ns: object, loaded: Loaded, state: str) -> str:
        """What is wrong with a rewritten rule; empty where nothing is."""
        return _unwell(loaded.get((str(told["rule"]), state == "canary"))) or await self._too_loud(
            told, min(self._age(since_ns), WEEK_SECONDS), loaded, state
        )

    async def _too_loud(self, told: Told, seconds: float, loaded: Loaded, state: str) -> str:
        """Whether the rule fires far more than its back-test said, in the last so many seconds."""
        if "firings_per_day" not in told or seconds <= 0:
            return ""
        alert = str(told["name"])
        labels = told.get("labels")
        besides = told_by_others(self._known, alert)
        n = await n_firings(
            self._server,
            {
                "alertname": alert,
                LABEL[0]: LABEL[1] if state == "canary" else "",
                # Namesakes, which labels tell apart, are others.
                **(labels if isinstance(labels, dict) else {}),
            },
            seconds,
            self._now(),
            besides=besides,
        )
        expected = as_number(told["firings_per_day"]) * seconds / 86_400
        if too_many(n, expected, self._config.max_firing_ratio):
            rule = _mistaken_for_others(told, loaded, shadow=state == "canary")
            if rule is not None:
                n = await n_firings_itself(self._server, rule, seconds, self._now(), besides) or 0
        if too_many(n, expected, self._config.max_firing_ratio):
            return f"{alert} fired {n} times in {seconds / 3600:.1f} h, {expected:.1f} were expected"
        return ""

    def _age(self, since_ns: object) -> float:
        return self._now() - as_number(since_ns) / 1e9

    def _tell(self, kind: str, revision: RuleRevision, why: str) -> None:
        self._log.warning(kind, group=revision.group, revision=revision.content_hash, why=why)
        facts = {"group": revision.group, "revision": revision.content_hash, "why": why}
        self._bus.publish(Event(kind, self._now(), facts))


def _by_key(rules: Sequence[Rule]) -> Loaded:
    """The loaded rules by what they are remembered by, and whether they are shadows."""
    found: Loaded = {}
    for rule, written in zip(rules, of_server(rules), strict=True):
        shadow = rule.group.startswith(f"{GROUP}-")
        if shadow:
            labels = {name: value for name, value in written.labels.items() if name != LABEL[0]}
            written = replace(written, group=rule.group.removeprefix(f"{GROUP}-"), labels=labels)
        found[written.key, shadow] = rule
    return found


def _mistaken_for_others(told: Told, loaded: Loaded, *, shadow: bool) -> WrittenRule | None:
    """The rule, where alerts of a namesake in another group have all of its labels; else None."""
    own = loaded.get((str(told["rule"]), shadow))
    if own is None:
        return None
    several = any(
        rule.name == own.name and own.labels.items() <= rule.labels.items()
        for (_, is_shadow), rule in loaded.items()
        if rule is not own and is_shadow == shadow and rule.kind == "alerting"
    )
    return of_server([own])[0] if several else None


def _unwell(rule: Rule | None) -> str:
    """That it errs or is slow; empty where it does neither, or is not loaded."""
    if rule is None:
        return ""
    if rule.health == "err":
        return f"{rule.name}: {rule.last_error}"
    if rule.interval_seconds and too_slow(rule.evaluation_seconds, rule.interval_seconds):
        return f"{rule.name} takes {rule.evaluation_seconds:.1f} s to evaluate"
    return ""
