"""What incidents set going by themselves: silences, their own alerts for Alertmanager, hooks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from sidecar.app.ground import Ground
from sidecar.config.model import Config
from sidecar.kubernetes import Cluster
from sidecar.prometheus.alertmanager import AlertmanagerClient
from sidecar.records import Episode, Incident
from webhooks.pipeline import AlertsLoop
from webhooks.respond.ack_silences import AckSilences
from webhooks.respond.auto_silences import AutoSilences
from webhooks.respond.desk import Desk
from webhooks.respond.hooks import HookMetrics, Hooks
from webhooks.respond.jobs import JobRunner
from webhooks.respond.silences import SilenceMetrics, Silencer
from webhooks.respond.steps import Steps
from webhooks.respond.synthetic import SyntheticAlerts, SyntheticMetrics


class ResponseTools:
    """Opened after the desk, whose open incidents it acts on, and ended before it.

    `alerts`: the alerts loop, made later. `episodes`: an incident's. `facts`: what is told of an incident.
    """

    def __init__(
        self,
        config: Config,
        ground: Ground,
        *,
        alerts: Callable[[], AlertsLoop],
        desk: Desk,
        episodes: Callable[[str], Awaitable[list[Episode]]],
        facts: Callable[[Incident], Mapping[str, Any]],
    ) -> None:
        self._desk = desk
        self._wall = ground.wall
        self._hold_seconds = config.webhook.incident_hold
        self._clients = {
            one.url: AlertmanagerClient(one, metrics=ground.pull_metrics) for one in config.alertmanagers
        }
        self._stack = AsyncExitStack()
        silences = config.response.silences
        self.silencer = Silencer(
            self._clients, silences, metrics=SilenceMetrics(ground.registry), now=ground.wall
        )
        self._on_acknowledging = silences.acknowledge
        self._ack_silences = AckSilences(
            self.silencer,
            incidents=lambda: desk.open_incidents,
            status=desk.status,
            parts=desk.parts,
            episodes=episodes,
            note=desk.note,
            config=silences,
        )
        self._auto_silences = AutoSilences(
            self.silencer,
            silences.automatic,
            episodes=lambda: alerts().intake.memory.episodes.values(),
            flapping=lambda: alerts().placing.flaps.flapping,
            incidents=lambda: desk.open_incidents,
            note=desk.note,
        )
        self._synthetic = SyntheticAlerts(
            self._clients,
            config.response.synthetic,
            metrics=SyntheticMetrics(ground.registry),
            facts=facts,
            settled=self._settled,
            now=ground.wall,
        )
        self._steps = Steps(JobRunner(Cluster(config.response.kubernetes)))
        self._hooks = Hooks(
            config.response.hooks,
            ground.store,
            metrics=HookMetrics(ground.registry),
            note=desk.note,
            run=self._steps.run,
            now=ground.wall,
        )

    async def open(self) -> None:
        """Begin. Raises: StoreError."""
        for client in self._clients.values():
            await self._stack.enter_async_context(client)
        await self._hooks.open()
        self._synthetic.start()
        if self._on_acknowledging:
            self._ack_silences.start()
        self._auto_silences.start()

    def consider(self, incidents: list[Incident]) -> None:
        """Take incidents as they now are."""
        self._synthetic.consider(incidents)
        self._hooks.consider(incidents)
        self._ack_silences.wake()
        self._auto_silences.wake()

    def acted(self) -> None:
        """Somebody did something: what was acknowledged may be silenced now."""
        self._ack_silences.wake()

    async def stop(self) -> None:
        """End; what is under way is cut."""
        await self._hooks.stop()
        await self._steps.close()
        await self._synthetic.stop()
        await self._ack_silences.stop()
        await self._auto_silences.stop()
        await self._stack.aclose()

    def _settled(self, incident_id: str) -> bool:
        """Whether an incident is past the time in which it may go into another."""
        incident = self._desk.open_incident(incident_id)
        return incident is not None and self._wall() - incident.started_at_ns / 1e9 >= self._hold_seconds
