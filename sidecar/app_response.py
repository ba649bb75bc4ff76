"""What carries incidents to people and tools, built and held together: desk, notifier, endpoints."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from sidecar.records import Incident
from sidecar.telemetry import get_logger
from webhooks.notify.notifier import Notifier
from webhooks.notify.outbox import NotifyMetrics
from webhooks.respond.audience import TeamAudience
from webhooks.respond.desk import Desk, DeskMetrics
from webhooks.respond.history import History
from webhooks.respond.hours import on_call
from webhooks.respond.http import ResponseEndpoints, view_of
from webhooks.respond.lifecycle import status_of
from webhooks.respond.similar import in_words
from webhooks.respond.slack_actions import SlackActions

if TYPE_CHECKING:
    from sidecar.app import Sidecar

KEY_NOTE = "link-key"
KEY_BYTES = 32


class Responding:
    """The alerts loop's teller. It is opened with the loop, so that nothing waits for the neighbours."""

    def __init__(self, sidecar: Sidecar, *, secret: bytes) -> None:
        config, store = sidecar.config, sidecar.store
        self._sidecar = sidecar
        self._secret = secret
        self._log = get_logger("responding")
        self.desk = Desk(
            store.response_store,
            find=store.incident,
            bus=sidecar.bus,
            metrics=DeskMetrics(sidecar.registry),
            now=sidecar.wall,
        )
        self.history = History(store, store.response_store, now=sidecar.wall)
        audience = TeamAudience(
            config,
            self.desk,
            secret=secret,
            before=lambda incident: in_words(self.history.similar(incident)),
            now=sidecar.wall,
        )
        self.notifier = Notifier(
            store,
            config.notify,
            hold_seconds=config.webhook.incident_hold,
            metrics=NotifyMetrics(sidecar.registry),
            audience=audience,
            now=sidecar.wall,
        )
        self.desk.on_action(self._acted)

    @classmethod
    async def build(cls, sidecar: Sidecar) -> Responding:
        """With the secret that signs links, made at the first start.

        Raises: StoreError.
        """
        stated = sidecar.config.response.link_secret
        if stated is not None:
            return cls(sidecar, secret=stated.get_secret_value().encode())
        secret = await sidecar.store.note(KEY_NOTE)
        if secret is None:
            secret = secrets.token_bytes(KEY_BYTES)
            await sidecar.store.put_note(KEY_NOTE, secret)
        return cls(sidecar, secret=secret)

    async def open(self, incidents: Iterable[Incident]) -> None:
        """Take what is open at start, begin.

        Raises: StoreError.
        """
        incidents = list(incidents)
        await self.desk.open(incidents)
        await self.history.open()
        await self.notifier.open(incidents)

    def consider(self, incidents: Iterable[Incident]) -> None:
        """Take incidents as they now are."""
        incidents = list(incidents)
        self.desk.observe(incidents)
        self.history.observe(incidents)
        self.notifier.consider(incidents)

    def _acted(self, incident: Incident, action: str) -> None:
        """Somebody did something: it is told, and remembered for the next time."""
        response = self.desk.response(incident.incident_id)
        if response is not None:
            self.history.learn(response)
        self.notifier.consider([incident])

    async def stop(self) -> None:
        """Write what is decided, end."""
        await self.notifier.stop()
        await self.desk.stop()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoints."""
        slack = [one.slack for one in self._sidecar.config.notify.targets if one.slack is not None]
        ResponseEndpoints(
            self.desk,
            specials={},
            view=self._view,
            on_call=self._on_call,
            secret=self._secret,
            slack=SlackActions(slack, self.desk.do, now=self._sidecar.wall),
            now=self._sidecar.wall,
        ).add_routes(router)

    async def _view(self, incident_id: str) -> Mapping[str, Any] | None:
        found = await self._sidecar.store.incident(incident_id)
        if found is None:
            return None
        incident, _ = found
        kept = self._sidecar.store.response_store
        response = self.desk.response(incident_id) or await kept.response(incident_id)
        timeline = await kept.timeline(incident_id)
        return view_of(status_of(incident, response), response, timeline, self.history.similar(incident))

    def _on_call(self) -> Mapping[str, str | None]:
        now = self._sidecar.wall()
        return {schedule.name: on_call(schedule, now) for schedule in self._sidecar.config.schedules}
