"""The loop that adapts people's own rules while nobody looks, as far as the configuration lets it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from rules.adapt.adapted import AdaptedRules
from rules.adapt.history import Adapted, Adapter, knows_keep_firing
from rules.adapt.limits import frozen
from rules.adapt.place import Place
from rules.adapt.places import own_rules
from rules.adapt.plan import Plan, argument, elsewhere, evidence_of, plan_places
from rules.adapt.policy import allowed, divided, outdated
from rules.adapt.rewriter import Rewriter
from rules.adapt.threshold_series import ThresholdSeries
from rules.adapt.told import ToldChange, nothing_told
from rules.backtest.past import BackTester, Window
from rules.backtest.reach import Recorded, within_reach
from rules.backtest.unscraped import Unscraped
from rules.incidents import KnownIncident
from rules.verify import RuleServer
from sidecar.background import Background
from sidecar.config.model import RulesConfig
from sidecar.errors import RuleError, SidecarError
from sidecar.events import Event, EventBus
from sidecar.ports import RuleStore, Source
from sidecar.prometheus.answers import BuildInfo
from sidecar.records import RuleRevision
from sidecar.telemetry import get_logger

FIRST_WAIT_SECONDS = 300.0
"""The metrics loop reads its history first."""

RETRY_SECONDS = 1800.0
APPROVER = "policy"
MAX_SAMPLES = 5_000_000
"""Of one rule, 40 MB: a sidecar is small. Four weeks at a minute leave room for 124 series."""


class AdaptedServer(Source, RuleServer, Recorded, Protocol):
    """What unattended adaptation asks of Prometheus; `PrometheusClient` has it."""

    async def build_info(self) -> BuildInfo:
        """Its version. Raises: PullError."""
        ...


class UnattendedMetrics:
    """What unattended adaptation tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.runs = Counter(
            "pronoia_rules_adapt_runs_total",
            "Runs over existing rules, by outcome.",
            ["result"],
            registry=registry,
        )
        for result in ("ok", "frozen", "failed"):
            self.runs.labels(result)
        self.last_success = Gauge(
            "pronoia_rules_adapt_last_success_timestamp_seconds",
            "Time of the last run over existing rules that failed nowhere.",
            registry=registry,
        )
        self.waiting = Gauge(
            "pronoia_rules_waiting", "Rewrites that wait for a person's approval.", registry=registry
        )
        self.rewritten = Counter(
            "pronoia_rules_rewritten_total",
            "Existing rules that policy rewrote or put beside the live ones as a shadow.",
            registry=registry,
        )


class Unattended:
    """Every so often: read, adapt, check, and publish or propose; one place's failure is its own."""

    def __init__(
        self,
        config: RulesConfig,
        *,
        rules: AdaptedRules,
        server: AdaptedServer,
        store: RuleStore,
        place_of: Callable[[str], Place],
        incidents: Callable[[], Awaitable[Sequence[KnownIncident]]],
        bus: EventBus,
        metrics: UnattendedMetrics,
        told: Callable[[], Awaitable[Sequence[ToldChange]]] = nothing_told,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._told = told
        self._config = config
        self._rules = rules
        self._server = server
        self._store = store
        self._place_of = place_of
        self._incidents = incidents
        self._bus = bus
        self._metrics = metrics
        self._now = now
        self._rewriter = Rewriter(rules, server, config)
        self._series = ThresholdSeries(store, now=now)
        self._log = get_logger("rules-adapt")
        self._task = Background("rules-adapt")

    def start(self) -> None:
        """Begin, where it is not off."""
        if self._config.adapt.unattended.mode != "off":
            self._task.start(self._run())

    async def stop(self) -> None:
        """End; what is being written then is undone by the watch of the next start."""
        await self._task.stop()

    async def run_once(self) -> list[RuleRevision]:
        """What was published, put beside as a shadow, or proposed in one run.

        Raises: PullError, RuleError, StoreError where rules or history cannot be read at all.
        """
        policy = self._config.adapt.unattended
        if frozen(self._config.adapt, self._now()):
            self._metrics.runs.labels("frozen").inc()
            return []
        window = await within_reach(self._server, self._window())
        adapted = allowed(
            await self._adapted(window),
            await self._store.revisions(limit=10_000),
            self._config.adapt,
            self._now(),
        )
        for error in elsewhere(adapted):
            self._log.warning("rules not rewritten", err=str(error))
        alone, waiting = divided(adapted, policy)
        # What runs somewhere as a shadow is judged first.
        busy = {revision.group for revision in await self._rules.of_state("canary")}
        done: list[RuleRevision] = []
        failed = 0

        def refused(place: str, error: RuleError) -> None:
            nonlocal failed
            failed += 1
            self._log.warning("rules not rewritten", place=place, err=str(error))

        for members, approver in ((alone, APPROVER), (waiting, None)):
            done += await self._series_of(members, window, approver)
            for plan in await plan_places(members, self._place_of, on_refused=refused):
                if approver is not None and plan.group in busy:
                    continue
                try:
                    revision = await self._placed(plan, window, approver)
                except RuleError as error:
                    refused(plan.place, error)
                    continue
                if revision is not None:
                    done.append(revision)
                    self._tell(revision, plan.message())
        self._metrics.waiting.set(await self._n_waiting(adapted))
        self._metrics.runs.labels("failed" if failed else "ok").inc()
        if not failed:
            self._metrics.last_success.set(self._now())
        return done

    async def _n_waiting(self, adapted: Sequence[Adapted]) -> int:
        """How many rewrites wait for a person, once those are withdrawn that are not proposed any more."""
        n_waiting = 0
        for revision in (*await self._rules.of_state("proposed"), *await self._series.of_state("proposed")):
            if why := outdated(revision, adapted):
                await self._rules.note(revision, "superseded", why)
                self._log.info("rewrite withdrawn", group=revision.group, why=why)
            else:
                n_waiting += 1
        return n_waiting

    async def _placed(self, plan: Plan, window: Window, approver: str | None) -> RuleRevision | None:
        if approver is None:
            return await self._rewriter.propose(plan, window)
        revision = await self._rewriter.put(plan, window, approver=approver)
        self._metrics.rewritten.inc(len(plan.adapted))
        return revision

    async def _series_of(
        self, members: Sequence[Adapted], window: Window, approver: str | None
    ) -> list[RuleRevision]:
        """Thresholds that are series: moved or proposed, without any rule being touched."""
        found = []
        for one in members:
            if not one.joined:
                continue
            evidence: dict[str, object] = {"days": window.days, "rules": [evidence_of(one)]}
            if approver is None:
                revision = await self._series.propose(one, evidence)
            else:
                revision = await self._series.put(one, evidence, approver=approver)
            if revision is not None:
                found.append(revision)
                self._tell(revision, argument(one))
        return found

    def _tell(self, revision: RuleRevision, words: str) -> None:
        kind = "rules.waiting" if revision.state == "proposed" else "rules.rewritten"
        facts = {"group": revision.group, "revision": revision.content_hash, "state": revision.state}
        self._log.info("rules adapted", **facts)
        self._bus.publish(Event(kind, self._now(), {**facts, "why": words}))

    def _window(self) -> Window:
        policy = self._config.adapt.unattended
        step_ms = round(policy.step * 1000)
        end_ms = round(self._now() * 1000) // step_ms * step_ms
        return Window(end_ms - round(policy.window * 1000) // step_ms * step_ms, end_ms, step_ms)

    async def _adapted(self, window: Window) -> list[Adapted]:
        version = (await self._server.build_info()).version
        adapter = Adapter(
            BackTester(Unscraped(self._server), at_once=1, max_samples=MAX_SAMPLES),
            self._config.adapt,
            knows_keep_firing=knows_keep_firing(version),
        )
        rules = await own_rules(self._config, self._server)
        return await adapter.all(
            rules,
            window,
            await self._incidents(),
            thresholds=await self._series.current(),
            told=await self._told(),
        )

    async def _run(self) -> None:
        pause = FIRST_WAIT_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = self._config.adapt.unattended.every
            try:
                await self.run_once()
            except SidecarError as error:
                self._metrics.runs.labels("failed").inc()
                self._log.warning("existing rules not adapted, will try again", err=str(error))
                pause = min(pause, RETRY_SECONDS)
            except Exception:
                # The loop's edge: a fault here must not end the process' other work.
                self._metrics.runs.labels("failed").inc()
                self._log.exception("adaptation of existing rules broke off")
