"""The process: everything built and wired here, by constructor arguments, and nowhere else."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

from aiohttp import web
from prometheus_client import Counter, Gauge, Info

from exporters.formats import make_formats
from exporters.page import SyntheticPage
from exporters.scrape import ScrapeEndpoints
from rules.incidents import KnownIncident, remembered_incidents
from rules.loop import RulesLoop
from rules.revise import RuleMetrics
from sidecar import __version__
from sidecar.api.outlook import OutlookEndpoints
from sidecar.api.server import build_app
from sidecar.api.tls import server_context
from sidecar.app.ahead import AheadFiles
from sidecar.app.alerts import AlertsMetrics, AlertsWorkings
from sidecar.app.explain import Explaining
from sidecar.app.feedback import Tasting
from sidecar.app.forecast import SidecarOutlook, risk_loop, threshold_loop
from sidecar.app.models import trial_of
from sidecar.app.response import Responding
from sidecar.app.rules import Rewriting, RewritingMetrics, fixed_files
from sidecar.app.views import AppViews
from sidecar.config.load import config_hash
from sidecar.config.model import Config, QueryConfig
from sidecar.errors import ConfigError, StoreError
from sidecar.events import Event, EventBus
from sidecar.fitting import FitProcess
from sidecar.loop.alertmanagers import Alertmanagers, ReachMetrics
from sidecar.loop.behaviour import BehaviourLoop, BehaviourMetrics
from sidecar.loop.beside import Beside, BesideMetrics
from sidecar.loop.clock import SourceClock
from sidecar.loop.forecast_thresholds import ThresholdMetrics
from sidecar.loop.metrics import LoopMetrics
from sidecar.loop.metrics_loop import MetricsLoop
from sidecar.loop.propose import configs, propose
from sidecar.loop.trial import TrialMetrics
from sidecar.loop.watch import Watch
from sidecar.offload import Offload
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.store.sqlite import SqliteStore
from sidecar.telemetry import get_logger, new_registry
from webhooks.intake.receiver import ROUTES, Receiver
from webhooks.judge.evidence_feed import CHANGES_PATH, ChangesEndpoint
from webhooks.pipeline import AlertsLoop
from webhooks.respond.http import FEEDBACK_ROUTE
from webhooks.respond.slack_actions import INTERACTIONS_PATH
from webhooks.risk.loop import RiskMetrics

STOP_SECONDS = 2.0
"""How long open requests may take to end when the process stops."""

PRUNE_SECONDS = 3600.0
COLLECT_AFTER = (10_000, 10, 100)
"""Garbage collection: label sets and episodes live long; walking them all often would pause every request."""

OWN_PROOF = ROUTES | {CHANGES_PATH, FEEDBACK_ROUTE, INTERACTIONS_PATH}
"""Routes that check their senders by themselves: the webhook's credentials, signed links and requests."""

NEED_RESTART = ("server", "store", "webhook", "notify", "export", "log")
RESPONSE_NEEDS_RESTART = ("link_secret", "silences", "synthetic", "hooks", "kubernetes")


class Workings:
    """What a reload replaces: the client and the loops that a configuration describes."""

    def __init__(self, config: Config, sidecar: Sidecar) -> None:
        self.config = config
        self._stack = AsyncExitStack()
        self.clock = SourceClock(sidecar.wall)
        self.client = PrometheusClient(
            config.prometheus, metrics=sidecar.pull_metrics, on_server_time=self.clock.observe
        )

        def make_watch(query: QueryConfig) -> Watch:
            return Watch(
                query,
                source=self.client,
                sinks=[sidecar.page, *sidecar.explaining.sinks],
                bus=sidecar.bus,
                offload=sidecar.offload,
                clock=self.clock,
                metrics=sidecar.loop_metrics,
                directory=config.store.directory / "models",
                max_series=config.prometheus.max_series_per_query,
                events=config.events,
                calendar=config.calendar,
                business=config.business,
                pauses=config.pauses,
                trial=trial_of(query, config, sidecar),
                beside=Beside(query.name, sidecar.fitting, sidecar.beside_metrics),
                tastes=partial(sidecar.tasting.of, query.name),
                remember=sidecar.explaining.journal.learn,
                now=sidecar.wall,
            )

        async def find_queries() -> Sequence[QueryConfig]:
            return configs(await propose(self.client, now=self.clock.now))

        self.metrics_loop = MetricsLoop(
            config.queries,
            make_watch=make_watch,
            propose=find_queries,
            clock=self.clock,
            metrics=sidecar.loop_metrics,
            snapshot_interval_seconds=config.store.snapshot_interval,
        )
        self.thresholds = threshold_loop(
            config,
            client=self.client,
            page=sidecar.page,
            offload=sidecar.offload,
            clock=self.clock,
            metrics=sidecar.threshold_metrics,
            queries=lambda: self.metrics_loop.queries,
        )
        self.behaviour = BehaviourLoop(
            config.behaviour,
            queries=lambda: self.metrics_loop.queries,
            source=self.client,
            bus=sidecar.bus,
            worker=sidecar.fitting,
            clock=self.clock,
            metrics=sidecar.behaviour_metrics,
            max_series=config.prometheus.max_series_per_query,
            now=sidecar.wall,
        )
        self.alertmanagers = Alertmanagers(
            config.alertmanagers, pull_metrics=sidecar.pull_metrics, metrics=sidecar.reach_metrics
        )
        self.risk = risk_loop(config, sidecar, self.thresholds)
        self.alerts_workings = AlertsWorkings(config, sidecar, self.client, self.clock)
        self.ahead = AheadFiles(config, self.client, sidecar.offload, now=self.clock.now)
        self.rules_loop: RulesLoop | None = None
        if config.rules.enabled:
            self.rules_loop = RulesLoop(
                config.rules,
                queries=lambda: self.metrics_loop.queries,
                bands=self.metrics_loop.bands,
                server=self.client,
                store=sidecar.store,
                bus=sidecar.bus,
                metrics=sidecar.rule_metrics,
                source=self.client,
                incidents=sidecar.known_incidents,
                fixed=fixed_files(config),
                late=self.ahead,
                now=sidecar.wall,
            )
        self.rewrites = Rewriting(config, sidecar, self.client)

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
        await self.rewrites.stop()
        if self.rules_loop is not None:
            await self.rules_loop.stop()
            await self.ahead.stop()
        await self.alerts_workings.stop()
        await self.alertmanagers.stop()
        await self.risk.stop()
        await self.behaviour.stop()
        await self.thresholds.stop()
        await self.metrics_loop.stop()
        await self._stack.aclose()


class Sidecar:
    """The process that `pronoia run` is. `load` reads the configuration anew for a reload."""

    def __init__(
        self,
        config: Config,
        *,
        load: Callable[[], Config],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.wall = wall
        self.bus = EventBus()
        self.offload = Offload()
        self.fitting = FitProcess()
        self.registry = new_registry()
        self.loop_metrics = LoopMetrics(self.registry)
        self.trial_metrics = TrialMetrics(self.registry)
        self.beside_metrics = BesideMetrics(self.registry)
        self.behaviour_metrics = BehaviourMetrics(self.registry)
        self.threshold_metrics = ThresholdMetrics(self.registry)
        self.risk_metrics = RiskMetrics(self.registry)
        self.pull_metrics = PullMetrics(self.registry)
        self.rule_metrics = RuleMetrics(self.registry)
        self.rewrite_metrics = RewritingMetrics(self)
        self.reach_metrics = ReachMetrics(self.registry)
        self.alerts_metrics = AlertsMetrics(self.registry)
        self.page = SyntheticPage(
            max_series=config.export.max_series,
            registry=self.registry,
            formats=make_formats(config.export.formats, config.export.extra_labels),
        )
        self.explaining = Explaining(self)
        self.tasting = Tasting(self)
        self.store: SqliteStore
        self.responding: Responding
        self.alerts: AlertsLoop
        self.workings: Workings
        self.started_seconds = wall()
        self._load = load
        self._log = get_logger("app")
        self._stop = asyncio.Event()
        self._reloading = asyncio.Lock()
        Info("pronoia_build", "The running version.", registry=self.registry).info({"version": __version__})
        self._reload_ok = Gauge(
            "pronoia_config_last_reload_successful",
            "1 if the last reading of the configuration succeeded.",
            registry=self.registry,
        )
        self._reload_time = Gauge(
            "pronoia_config_last_reload_success_timestamp_seconds",
            "Time of the last successful reading of the configuration.",
            registry=self.registry,
        )
        self._pruned = Counter(
            "pronoia_store_pruned_rows_total",
            "Rows deleted because they outlived their retention.",
            ["table"],
            registry=self.registry,
        )
        Gauge(
            "pronoia_events_dropped",
            "Events that slow readers of the live stream lost since the start.",
            registry=self.registry,
        ).set_function(lambda: float(self.bus.dropped_total))

    async def run(self) -> int:
        """Serve until told to stop; the process' exit code."""
        gc.set_threshold(*COLLECT_AFTER)
        try:
            self.store = await SqliteStore.open(self.config.store, registry=self.registry)
            self.responding = await Responding.build(self)
            self.alerts = AlertsLoop(
                self.store,
                bus=self.bus,
                config=self.config.webhook,
                registry=self.registry,
                teller=self.responding,
                now=self.wall,
            )
            await self.alerts.open()
        except StoreError as error:
            self._log.error("the database cannot be used; see pronoia db status", err=str(error))
            return 1
        runner = web.AppRunner(
            self._build_app(), access_log=None, shutdown_timeout=STOP_SECONDS, handler_cancellation=False
        )
        await runner.setup()
        host, _, port = self.config.server.listen.rpartition(":")
        try:
            context = server_context(self.config.server.tls)
            site = web.TCPSite(runner, host.strip("[]") or None, int(port), ssl_context=context)
            await site.start()
        except OSError as error:
            self._log.error(
                "cannot listen; is another pronoia running? name another address with --listen",
                listen=self.config.server.listen,
                err=error.strerror or str(error),
            )
            await runner.cleanup()
            await self.alerts.stop()
            await self.store.close()
            self.offload.close()
            return 1
        self.workings = Workings(self.config, self)
        await self.workings.start()
        self.explaining.start()
        self.tasting.start()
        self._note_reload(ok=True)
        self._listen_to_signals()
        self._log.info(
            "serving",
            listen=self.config.server.listen,
            version=__version__,
            prometheus=self.config.prometheus.url,
            config_hash=config_hash(self.config),
        )
        if self.config.server.open_to_all:
            self._log.warning("whoever reaches the port may act on incidents; name users in server.access")
        warming = asyncio.create_task(self.offload.run(_warm, self.page), name="warm")
        pruning = asyncio.create_task(self._prune_for_ever(), name="prune")
        await self._stop.wait()
        self._log.info("stopping")
        pruning.cancel()
        warming.cancel()
        await runner.cleanup()  # No more requests; those under way get their answer.
        await self.alerts.stop()
        await self.workings.stop()
        await self.explaining.stop()
        await self.tasting.stop()
        await self.store.close()
        self.fitting.shutdown(wait=False, cancel_futures=True)
        self.offload.close()
        return 0

    async def known_incidents(self) -> list[KnownIncident]:
        """Incidents that rules are measured by, from the store. Raises: StoreError."""
        return await remembered_incidents(self.store, self.wall())

    def stop(self) -> None:
        """Let `run` end."""
        self._stop.set()

    async def reload(self) -> None:
        """Read the configuration and run with it.

        Raises: ConfigError, and then the old one runs on.
        """
        async with self._reloading:
            try:
                config = await asyncio.to_thread(self._load)
            except ConfigError as error:
                self._note_reload(ok=False)
                self._log.error("configuration not usable, keeping the old one", err=str(error))
                raise
            for section in NEED_RESTART:
                if getattr(config, section) != getattr(self.config, section):
                    self._log.warning("this section takes effect at the next start", section=section)
            for section in RESPONSE_NEEDS_RESTART:
                if getattr(config.response, section) != getattr(self.config.response, section):
                    self._log.warning(
                        "this section takes effect at the next start", section=f"response.{section}"
                    )
            kept = {query.name for query in config.queries}
            old = self.workings
            await old.stop()
            for watch in old.metrics_loop.watches:
                if config.queries and watch.query.name not in kept:
                    watch.retire()
            self.config = config
            await self.responding.reconfigure(config)
            self.workings = Workings(config, self)
            await self.workings.start()
            self._note_reload(ok=True)
            self._log.info("configuration reloaded", config_hash=config_hash(config))
            self.bus.publish(Event("config.reloaded", self.wall(), {"config_hash": config_hash(config)}))

    def _build_app(self) -> web.Application:
        app = build_app(
            views=AppViews(self),
            bus=self.bus,
            reload=self.reload,
            quit_process=self.stop,
            max_body_bytes=self.config.webhook.max_body_bytes,
            access=self.config.server.access,
            own_proof=OWN_PROOF,
        )
        ScrapeEndpoints(self.page, self.registry).add_routes(app.router)
        Receiver(
            self.alerts.intake,
            self.config.webhook,
            registry=self.registry,
            flaps=self.alerts.placing.flaps,
            now=self.wall,
        ).add_routes(app.router)
        self.responding.add_routes(app.router)
        self.explaining.add_routes(app.router)
        self.tasting.add_routes(app.router)
        OutlookEndpoints(SidecarOutlook(self)).add_routes(app.router)
        ChangesEndpoint(
            lambda: self.alerts.placing.analyst, self.config.webhook.auth, self.store, self.wall
        ).add_routes(app.router)

        async def end_streams(_: web.Application) -> None:
            self.bus.close()

        app.on_shutdown.append(end_streams)
        return app

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        tasks: set[asyncio.Task[None]] = set()

        async def reload() -> None:
            try:
                await self.reload()
            except ConfigError:
                return  # Logged and counted where it was found.

        def on_hangup() -> None:
            task = asyncio.create_task(reload())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        loop.add_signal_handler(signal.SIGHUP, on_hangup)

    def _note_reload(self, *, ok: bool) -> None:
        self._reload_ok.set(float(ok))
        if ok:
            self._reload_time.set(self.wall())

    async def _prune_for_ever(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            try:
                for table, n in (await self.store.prune(now_ns=int(self.wall() * 1e9))).items():
                    self._pruned.labels(table).inc(n)
            except StoreError as error:
                self._log.warning("old rows not deleted, will try again", err=str(error))


def _warm(page: SyntheticPage) -> None:
    """Compile or load the kernels before the first pull needs them."""
    from sidecar.prometheus import scan

    scan.warm()
    page.warm()
