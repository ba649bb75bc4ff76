"""What carries incidents to people and tools, built and held together: desk, notifier, endpoints."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

from aiohttp import web

from sidecar.app.deeds import Deeds
from sidecar.app.ground import Ground
from sidecar.app.response_tools import ResponseTools
from sidecar.config.model import Config
from sidecar.config.response import ResponseConfig
from sidecar.prometheus.client import PrometheusClient
from sidecar.records import Episode, Incident
from sidecar.store.protocol import Store
from sidecar.telemetry import get_logger
from webhooks.notify.channel import Poster
from webhooks.notify.notifier import Notifier
from webhooks.notify.outbox import NotifyMetrics
from webhooks.pipeline import AlertsLoop
from webhooks.respond.audience import TeamAudience
from webhooks.respond.desk import Desk, DeskMetrics
from webhooks.respond.document import Report
from webhooks.respond.enrich import Enricher, EnrichMetrics
from webhooks.respond.history import History
from webhooks.respond.http import ResponseEndpoints, view_of
from webhooks.respond.incident_page import IncidentPage
from webhooks.respond.lifecycle import status_of
from webhooks.respond.noise_week import NoiseWeek
from webhooks.respond.pagerduty_events import EVENTS_PATH, PagerDutyEvents
from webhooks.respond.picture import PictureMetrics, Pictures, png
from webhooks.respond.report import incident_report
from webhooks.respond.rota import RotaMetrics, Rotas
from webhooks.respond.similar import in_words, similarity
from webhooks.respond.slack_actions import SlackActions
from webhooks.respond.spare import SpareFile

KEY_NOTE = "link-key"
KEY_BYTES = 32
MAX_CANDIDATES = 10
SLACK_ANSWER_SECONDS = 10.0


async def link_secret(config: ResponseConfig, store: Store) -> bytes:
    """The stated secret that signs links, or one made at the first start.

    Raises: StoreError.
    """
    if config.link_secret is not None:
        return config.link_secret.get_secret_value().encode()
    secret = await store.note(KEY_NOTE)
    if secret is None:
        secret = secrets.token_bytes(KEY_BYTES)
        await store.put_note(KEY_NOTE, secret)
    return secret


class Responding:
    """The alerts loop's teller. It is opened with the loop, so that nothing waits for the neighbours.

    `alerts`: that loop, which is made after its teller. `secret`: what signs links.
    """

    def __init__(
        self, config: Config, ground: Ground, *, alerts: Callable[[], AlertsLoop], secret: bytes
    ) -> None:
        store = ground.store
        self._store = store
        self._wall = ground.wall
        self._alerts = alerts
        self._secret = secret
        self._config = config
        self._teams = config.teams
        self._log = get_logger("responding")
        self.desk = Desk(
            store.response_store,
            find=store.incident,
            bus=ground.bus,
            metrics=DeskMetrics(ground.registry),
            told=lambda incident_id: self.notifier.has_told(incident_id),
            spare=SpareFile(config.store.directory),
            now=ground.wall,
        )
        self.history = History(store, store.response_store, now=ground.wall)
        self.enricher = Enricher(
            config.enrichment,
            episodes=self._episodes,
            metrics=EnrichMetrics(ground.registry),
            now=ground.wall,
        )
        self.pictures = self._pictures_of(config, ground)
        self._rota_metrics = RotaMetrics(ground.registry)
        self._rotas = self._rotas_of(config)
        audience = self._audience(config)
        self.notifier = Notifier(
            store,
            config.notify,
            hold_seconds=config.webhook.incident_hold,
            metrics=NotifyMetrics(ground.registry),
            audience=audience,
            picture=self.pictures.of,
            now=ground.wall,
        )
        self.desk.on_action(self._acted)
        self._tools = ResponseTools(
            config,
            ground,
            alerts=alerts,
            desk=self.desk,
            episodes=self._episodes,
            facts=lambda incident: self.notifier.audience.facts(incident, target="alertmanager"),
        )
        self._slack_answers = Poster(SLACK_ANSWER_SECONDS)
        self._slack = SlackActions(
            [one.slack for one in config.notify.targets if one.slack is not None],
            self.desk.do,
            answer=self._slack_answers.post,
            now=ground.wall,
        )
        self._noise_week = NoiseWeek(
            store,
            store,
            teams=lambda: self._teams,
            send=self.notifier.send_report,
            bus=ground.bus,
            now=ground.wall,
        )

    def _pictures_of(self, config: Config, ground: Ground) -> Pictures:
        return Pictures(
            enabled=config.enrichment.pictures
            and any(target.takes_pictures for target in config.notify.targets),
            timeout_seconds=config.enrichment.timeout,
            episodes=self._episodes,
            draw=lambda subject, batch, row: ground.offload.run(png, subject, batch, row),
            metrics=PictureMetrics(ground.registry),
            now=ground.wall,
        )

    def _rotas_of(self, config: Config) -> Rotas:
        return Rotas(config.schedules, config.people, metrics=self._rota_metrics, now=self._wall)

    def _audience(self, config: Config) -> TeamAudience:
        names = [person.name for person in config.people]
        return TeamAudience(
            config,
            self.desk,
            secret=self._secret,
            enricher=self.enricher,
            draw=self.pictures.prepare,
            on_call=self._rotas.on_call,
            owner=lambda service: self._alerts().placing.analyst.reader.topology.team(service),
            experts=lambda incident: self.history.experts(incident, names),
            before=lambda incident: in_words(self.history.similar(incident)),
            now=self._wall,
        )

    def ask(self, client: PrometheusClient | None) -> None:
        """Whom messages' queries and pictures are asked of from now on."""
        self.enricher.ask(client)
        self.pictures.ask(client)

    async def reconfigure(self, config: Config) -> None:
        """Take people, shifts, teams, maintenance, dependencies and enrichment anew; the rest waits."""
        await asyncio.to_thread(self.enricher.configure, config.enrichment)
        if config.notify != self._config.notify:
            # New teams may name new targets, which are not there yet.
            self._log.warning("teams stay as they are until the next start, since notify has changed")
            return
        rotas = self._rotas_of(config)
        await rotas.start(before=self._rotas)
        await self._rotas.stop()
        self._rotas = rotas
        self._teams = config.teams
        self.notifier.audience = self._audience(config)

    async def open(self, incidents: Iterable[Incident]) -> None:
        """Take what is open at start, begin.

        Raises: StoreError.
        """
        incidents = list(incidents)
        await self._rotas.start()
        await self.desk.open(incidents)
        await self.history.open()
        await self.notifier.open(incidents)
        await self._tools.open()
        self._noise_week.start()
        self._tools.consider(incidents)
        self.consider(await self._ended_unheard({one.incident_id for one in incidents}))

    async def _ended_unheard(self, still_open: Set[str]) -> list[Incident]:
        """Those that are over, of which people or the timeline know only that they began.

        It was killed in between.
        """
        ended = []
        for incident_id in sorted((self.notifier.not_told_over() | self.desk.not_noted_over) - still_open):
            record = await self._store.incident_record(incident_id)
            if record is not None and record.state != "open":
                ended.append(record)
        return ended

    def consider(self, incidents: Iterable[Incident]) -> None:
        """Take incidents as they now are."""
        incidents = list(incidents)
        self.desk.observe(incidents)
        self.history.observe(incidents)
        self.notifier.consider(incidents)
        self._tools.consider(incidents)

    def stays(self, one: str, other: str) -> str | None:
        """Which of two incidents should stay where they become one; None where it is all the same."""
        return self.desk.stays(one, other)

    def _acted(self, incident: Incident, action: str) -> None:
        """Somebody did something: it is told, and remembered for the next time."""
        response = self.desk.response(incident.incident_id)
        if response is not None:
            self.history.learn(response)
        self.notifier.consider([incident])
        self._tools.acted()

    async def stop(self) -> None:
        """Write what is decided, end."""
        await self._rotas.stop()
        await self._slack.close()
        await self._slack_answers.close()
        await self._noise_week.stop()
        await self._tools.stop()
        await self.notifier.stop()
        await self.desk.stop()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoints."""
        deeds = Deeds(self._store, self.desk, self._tools.silencer, lambda: self._alerts().by_hand())
        ResponseEndpoints(
            self.desk,
            specials={
                "merge": deeds.merge,
                "split": deeds.split,
                "silence": deeds.silence,
                "unsilence": deeds.unsilence,
            },
            view=self._view,
            on_call=self._on_call,
            secret=self._secret,
            slack=self._slack,
            candidates=self._others,
            now=self._wall,
        ).add_routes(router)
        IncidentPage(self._told).add_routes(router)
        pagers = [one.pagerduty for one in self._config.notify.targets if one.pagerduty is not None]
        router.add_post(EVENTS_PATH, PagerDutyEvents(pagers, self.desk.do).handle)

    def _others(self, incident_id: str) -> list[Incident]:
        """Open incidents that one may be a duplicate of, the most alike first."""
        incidents = {one.incident_id: one for one in self.desk.open_incidents}
        one = incidents.pop(incident_id, None)
        order = sorted(
            incidents.values(), key=lambda other: -similarity(one, other) if one else -other.started_at_ns
        )
        return order[:MAX_CANDIDATES]

    async def _episodes(self, incident_id: str) -> list[Episode]:
        found = await self._store.incident(incident_id)
        return found[1] if found is not None else []

    async def _view(self, incident_id: str) -> Mapping[str, Any] | None:
        incident = await self._store.incident_record(incident_id)
        if incident is None:
            return None
        kept = self._store.response_store
        response = self.desk.response(incident_id) or await kept.response(incident_id)
        timeline = await kept.timeline(incident_id)
        return view_of(status_of(incident, response), response, timeline, self.history.similar(incident))

    async def _told(self, incident_id: str) -> tuple[Incident, str, Callable[[], Report]] | None:
        found = await self._store.incident(incident_id)
        if found is None:
            return None
        incident, episodes = found
        kept = self._store.response_store
        response = self.desk.response(incident_id) or await kept.response(incident_id)
        timeline, messages = await kept.timeline(incident_id), await self._store.messages_of(incident_id)
        alike = self.history.similar(incident)

        def report() -> Report:
            return incident_report(incident, episodes, response, timeline, messages, alike)

        return incident, status_of(incident, response), report

    def _on_call(self) -> Mapping[str, str | None]:
        now = self._wall()
        return {name: self._rotas.on_call(name, now) for name in self._rotas.names()}
