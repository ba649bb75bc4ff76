"""What stands beside the alerts loop and asks the neighbours for it: reconciling, the dead man's switch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from sidecar.app.ground import Ground
from sidecar.config.model import Config
from sidecar.loop.clock import SourceClock
from sidecar.prometheus.alertmanager import AlertmanagerClient
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.selector import selector_of
from sidecar.series import ThresholdEta
from webhooks.heartbeats.deadman import DeadMan, DeadManMetrics
from webhooks.judge.evidence_feed import EvidenceFeed
from webhooks.judge.impact_feed import ImpactFeed
from webhooks.judge.lag_feed import LagFeed, LagMetrics
from webhooks.pipeline import AlertsLoop
from webhooks.quieten.flap_report import FlapReport
from webhooks.reconcile.alerts_series import AlertsSeries
from webhooks.reconcile.loop import ReconcileMetrics, Reconciler
from webhooks.reconcile.outage import OutageReport

FRESH_SECONDS = 120.0
"""An alert's series that old is no longer evaluated; rules are evaluated each minute or oftener."""

MAX_ROWS = 1000


class AlertsMetrics:
    """The metrics of these parts, which outlive a reload."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.reconcile = ReconcileMetrics(registry)
        self.dead_man = DeadManMetrics(registry)
        self.lags = LagMetrics(registry)


class AlertsWorkings:
    """These parts, for one configuration."""

    def __init__(
        self,
        config: Config,
        ground: Ground,
        client: PrometheusClient,
        clock: SourceClock,
        *,
        alerts: AlertsLoop,
        etas: Callable[[], Sequence[ThresholdEta]],
        ask: Callable[[PrometheusClient | None], None],
        metrics: AlertsMetrics,
    ) -> None:
        self._stack = AsyncExitStack()
        self._client = client
        self._ask = ask
        self._clients = {
            one.url: AlertmanagerClient(one, metrics=ground.pull_metrics) for one in config.alertmanagers
        }
        self.reconciler = Reconciler(
            [AlertmanagerClient(one, metrics=ground.pull_metrics) for one in config.alertmanagers],
            series=AlertsSeries(client, now=clock.now),
            known=alerts.newest,
            accept=alerts.intake.accept,
            senders=ground.store.senders,
            cut_at_ns=lambda tenant: alerts.intake.memory.truncated_at_ns.get(tenant, 0),
            wake=alerts.doubt,
            metrics=metrics.reconcile,
            interval_seconds=config.webhook.reconcile_interval,
            now=ground.wall,
        )
        self.outage = OutageReport(
            client, ground.store, config.webhook, metrics=metrics.reconcile, now=clock.now
        )
        self.dead_man = DeadMan(
            alerts.heartbeats,
            accept=alerts.intake.accept,
            known=lambda: alerts.intake.memory.episodes,
            evaluates=Firing(client, clock).now,
            alertmanagers=self._clients,
            store=ground.store,
            metrics=metrics.dead_man,
            look_seconds=config.webhook.heartbeat.look_interval,
            now=ground.wall,
        )
        self.flap_report = FlapReport(
            alerts.placing.flaps, source=client, store=ground.store, bus=ground.bus, now=clock.now
        )
        self.evidence = EvidenceFeed(
            lambda: alerts.placing.analyst,
            instant=client.instant,
            feedback=ground.store.response_store.feedback,
            notes=ground.store,
            bus=ground.bus,
            now=clock.now,
        )
        self.lags = LagFeed(
            lambda: alerts.placing.analyst,
            source=client,
            reconsider=alerts.reconsider,
            metrics=metrics.lags,
            now=clock.now,
        )
        self.impact = ImpactFeed(
            lambda: alerts.placing.analyst,
            source=client,
            etas=etas,
            peak_hours=config.business.peak_hours,
            known=lambda: alerts.placing.known,
            reconsider=alerts.reconsider,
            now=clock.now,
        )

    async def start(self) -> None:
        """Open the clients, start the parts."""
        for client in self._clients.values():
            await self._stack.enter_async_context(client)
        self._ask(self._client)
        self.reconciler.start()
        self.outage.start()
        self.dead_man.start()
        self.flap_report.start()
        self.evidence.start()
        self.lags.start()
        self.impact.start()

    async def stop(self) -> None:
        """Stop the parts, close the clients."""
        await self.impact.stop()
        await self.lags.stop()
        await self.evidence.stop()
        await self.flap_report.stop()
        await self.dead_man.stop()
        await self.outage.stop()
        await self.reconciler.stop()
        self._ask(None)
        await self._stack.aclose()


class Firing:
    """Whether Prometheus fires an alert."""

    def __init__(self, client: PrometheusClient, clock: SourceClock) -> None:
        self._client = client
        self._clock = clock

    async def now(self, alertname: str, cluster: str) -> bool | None:
        """True or False; None where it did not fire there in six hours, and so says nothing.

        Raises: PullError.
        """
        alerts = selector_of(
            [("__name__", "=", "ALERTS"), ("alertname", "=", alertname), ("alertstate", "=", "firing")]
        )
        at = self._clock.now()
        batch = await self._client.instant(
            f"max by (cluster) (max_over_time(timestamp({alerts})[6h:1m]))",
            at_ms=int(at * 1000),
            name="heartbeat",
            max_series=MAX_ROWS,
        )
        newest = [
            float(batch.values[row, -1])
            for row, labels in enumerate(batch.labels)
            if not cluster or labels.get("cluster", "") == cluster
        ]
        return max(newest) > at - FRESH_SECONDS if newest else None
