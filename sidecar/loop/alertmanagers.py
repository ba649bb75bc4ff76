"""Whether the configured Alertmanagers can be reached: asked each minute, told in a metric and in /health."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry, Gauge

from sidecar.config.model import AlertmanagerConfig
from sidecar.errors import PullError
from sidecar.prometheus.alertmanager import AlertmanagerClient
from sidecar.prometheus.session import PullMetrics
from sidecar.rounds import Rounds
from sidecar.telemetry import get_logger, redact_url

LOOK_SECONDS = 60.0


class ReachMetrics:
    """What is told of Alertmanagers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.up = Gauge(
            "pronoia_alertmanager_up",
            "1 if the Alertmanager answered when last asked.",
            ["alertmanager"],
            registry=registry,
        )


class Alertmanagers:
    """Asks each Alertmanager for its status now and then; alerts themselves come by webhook."""

    def __init__(
        self, configs: Sequence[AlertmanagerConfig], *, pull_metrics: PullMetrics, metrics: ReachMetrics
    ) -> None:
        self._configs = configs
        self._pull_metrics = pull_metrics
        self._metrics = metrics
        self._log = get_logger("alertmanagers")
        self._clients: dict[str, AlertmanagerClient] = {}
        self._open = AsyncExitStack()
        self._rounds = Rounds(
            "alertmanagers",
            self._look_at_all,
            pause=lambda: LOOK_SECONDS,
            undone="alertmanagers not looked at",
        )
        self.versions: dict[str, str] = {}
        self.unreachable: dict[str, str] = {}

    def start(self) -> None:
        """Begin to look, where there is any to look at."""
        if self._configs:
            self._rounds.start()

    async def stop(self) -> None:
        """End, and forget what was told of these Alertmanagers."""
        await self._rounds.stop()
        self._clients.clear()
        await self._open.aclose()
        self._metrics.up.clear()

    async def _look_at_all(self) -> None:
        for config in self._configs:
            name = redact_url(config.url)
            if name not in self._clients:
                client = AlertmanagerClient(config, metrics=self._pull_metrics)
                self._clients[name] = await self._open.enter_async_context(client)
        await asyncio.gather(*(self._look(name, client) for name, client in self._clients.items()))

    async def _look(self, name: str, client: AlertmanagerClient) -> None:
        try:
            status = await client.status()
            version = str((status.get("versionInfo") or {}).get("version", "unknown"))
        except (PullError, AttributeError) as error:
            # An answer without the fields of one is nobody's whom we could ask about alerts.
            self._metrics.up.labels(name).set(0)
            if name not in self.unreachable:
                self._log.warning("alertmanager not reached", alertmanager=name, err=str(error))
            self.unreachable[name] = str(error)
            return
        self._metrics.up.labels(name).set(1)
        if self.versions.get(name) != version or name in self.unreachable:
            self._log.info("alertmanager reached", alertmanager=name, version=version)
        self.versions[name] = version
        self.unreachable.pop(name, None)
