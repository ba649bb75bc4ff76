"""What a reload replaces: the client and the loops that a configuration describes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

from prometheus_client import CollectorRegistry

from rules.incidents import KnownIncident, remembered_incidents
from rules.loop import RulesLoop
from rules.metrics import RuleMetrics
from sidecar.app.ahead import AheadFiles
from sidecar.app.alerts import AlertsMetrics, AlertsWorkings
from sidecar.app.explain import Explaining
from sidecar.app.feedback import Tasting
from sidecar.app.forecast import risk_loop, threshold_loop
from sidecar.app.ground import Ground
from sidecar.app.joined_rules import joined_rules
from sidecar.app.models import trial_of
from sidecar.app.response import Responding
from sidecar.app.rules import Rewriting, RewritingMetrics, fixed_files
from sidecar.config.model import Config, QueryConfig
from sidecar.loop.alertmanagers import Alertmanagers, ReachMetrics
from sidecar.loop.behaviour import BehaviourLoop, BehaviourMetrics
from sidecar.loop.beside import Beside, BesideMetrics
from sidecar.loop.clock import SourceClock
from sidecar.loop.forecast_thresholds import ThresholdMetrics
from sidecar.loop.learning import LEARNERS
from sidecar.loop.metrics import LoopMetrics
from sidecar.loop.metrics_loop import MetricsLoop
from sidecar.loop.propose import configs, propose
from sidecar.loop.trial import TrialMetrics
from sidecar.loop.watch import Watch
from sidecar.prometheus.client import PrometheusClient
from webhooks.pipeline import AlertsLoop
from webhooks.risk.loop import RiskMetrics


class WorkingsMetrics:
    """The loops' metrics; made once, as the loops come and go with the configuration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.loop = LoopMetrics(registry)
        self.trial = TrialMetrics(registry)
        self.beside = BesideMetrics(registry)
        self.behaviour = BehaviourMetrics(registry)
        self.thresholds = ThresholdMetrics(registry)
        self.risk = RiskMetrics(registry)
        self.rules = RuleMetrics(registry)
        self.rewriting = RewritingMetrics(registry)
        self.reach = ReachMetrics(registry)
        self.alerts = AlertsMetrics(registry)


class Workings:
    """The loops of one configuration, and the client they share."""

    def __init__(
        self,
        config: Config,
        ground: Ground,
        *,
        metrics: WorkingsMetrics,
        explaining: Explaining,
        tasting: Tasting,
        alerts: AlertsLoop,
        responding: Responding,
        before: Sequence[Watch] = (),
    ) -> None:
        self.config = config
        self._ground = ground
        self._metrics = metrics
        self._explaining = explaining
        self._tasting = tasting
        self._stack = AsyncExitStack()
        self._learning = asyncio.Semaphore(LEARNERS)
        self.clock = SourceClock(ground.wall)
        self.client = PrometheusClient(
            config.prometheus, metrics=ground.pull_metrics, on_server_time=self.clock.observe
        )
        self.metrics_loop = MetricsLoop(
            config.queries,
            make_watch=self._watch,
            propose=self._find_queries,
            clock=self.clock,
            metrics=metrics.loop,
            snapshot_interval_seconds=config.store.snapshot_interval,
            before=before,
        )
        joined = joined_rules(self.client, ground)
        self.thresholds = threshold_loop(
            config,
            client=self.client,
            rules=joined,
            page=ground.page,
            offload=ground.offload,
            clock=self.clock,
            metrics=metrics.thresholds,
            queries=self._watched,
        )
        self.behaviour = self._behaviour_loop()
        self.alertmanagers = Alertmanagers(
            config.alertmanagers, pull_metrics=ground.pull_metrics, metrics=metrics.reach
        )
        self.risk = risk_loop(config, ground, alerts, self.thresholds, metrics.risk)
        self.alerts_workings = AlertsWorkings(
            config,
            ground,
            self.client,
            self.clock,
            alerts=alerts,
            etas=lambda: self.thresholds.etas,
            ask=responding.ask,
            metrics=metrics.alerts,
        )
        self.ahead = AheadFiles(config, joined, ground.offload, now=self.clock.now)
        self.rules_loop = self._rules_loop() if config.rules.enabled else None
        self.rewrites = Rewriting(
            config,
            ground,
            self.client,
            metrics=metrics.rewriting,
            rule_metrics=metrics.rules,
            incidents=self._known_incidents,
        )

    async def start(self) -> None:
        """Open the client, start the loops."""
        await self._stack.enter_async_context(self.client)
        self.metrics_loop.start()
        self.thresholds.start()
        self.behaviour.start()
        self.risk.start()
        self.alertmanagers.start()
        await self.alerts_workings.start()
        if self.rules_loop is not None:
            self.ahead.start()
            self.rules_loop.start()
        self.rewrites.start()

    async def stop(self) -> None:
        """Stop the loops, save the models, close the client."""
        await (
            self.metrics_loop.stop()
        )  # First, so that nothing is learnt any more that others would wait for.
        await self.rewrites.stop()
        if self.rules_loop is not None:
            await self.rules_loop.stop()
            await self.ahead.stop()
        await self.alerts_workings.stop()
        await self.alertmanagers.stop()
        await self.risk.stop()
        await self.behaviour.stop()
        await self.thresholds.stop()
        await self._stack.aclose()

    def _watch(self, query: QueryConfig) -> Watch:
        config, ground = self.config, self._ground
        return Watch(
            query,
            source=self.client,
            sinks=[ground.page, *self._explaining.sinks],
            bus=ground.bus,
            offload=ground.offload,
            clock=self.clock,
            metrics=self._metrics.loop,
            directory=config.store.directory / "models",
            max_series=config.prometheus.max_series_per_query,
            events=config.events,
            calendar=config.calendar,
            business=config.business,
            pauses=config.pauses,
            slots=self._learning,
            trial=trial_of(
                query, config, ground, metrics=self._metrics.trial, drifting=self._explaining.drifting
            ),
            beside=Beside(query.name, ground.fitting, self._metrics.beside),
            tastes=partial(self._tasting.of, query.name),
            remember=self._explaining.journal.learn,
            begun=self._explaining.journal.begun,
            now=ground.wall,
        )

    def _watched(self) -> Sequence[QueryConfig]:
        return self.metrics_loop.queries

    async def _find_queries(self, watched: Sequence[QueryConfig]) -> Sequence[QueryConfig]:
        return configs(await propose(self.client, watched=watched, now=self.clock.now))

    def _behaviour_loop(self) -> BehaviourLoop:
        return BehaviourLoop(
            self.config.behaviour,
            queries=self._watched,
            source=self.client,
            bus=self._ground.bus,
            worker=self._ground.fitting,
            clock=self.clock,
            metrics=self._metrics.behaviour,
            max_series=self.config.prometheus.max_series_per_query,
            now=self._ground.wall,
        )

    def _rules_loop(self) -> RulesLoop:
        return RulesLoop(
            self.config.rules,
            queries=self._watched,
            bands=self.metrics_loop.bands,
            server=self.client,
            store=self._ground.store,
            bus=self._ground.bus,
            metrics=self._metrics.rules,
            source=self.client,
            incidents=self._known_incidents,
            fixed=fixed_files(self.config),
            late=self.ahead,
            now=self._ground.wall,
        )

    async def _known_incidents(self) -> list[KnownIncident]:
        """Incidents that rules are measured by, from the store. Raises: StoreError."""
        return await remembered_incidents(self._ground.store, self._ground.wall())
