"""Builds what heeds people's verdicts: read from the store, told to every watch, explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web
from prometheus_client import Gauge

from sidecar.api.series_feedback import SeriesFeedback
from sidecar.app.ground import Ground
from sidecar.loop.journal import Journal, last_event
from sidecar.loop.taste import Taste, in_words, of_alerts, rows_of, tastes
from sidecar.loop.watch import Watch
from sidecar.records import SeriesVerdict
from sidecar.rounds import Rounds
from sidecar.series import LabelSet

HEED_SECONDS = 300.0
"""How soon a verdict on an incident reaches its series; old verdicts fade as often."""


class Tasting:
    """What people said, in one process."""

    def __init__(self, journal: Journal, ground: Ground, *, watches: Callable[[], Sequence[Watch]]) -> None:
        self._journal = journal
        self._store = ground.store
        self._offload = ground.offload
        self._wall = ground.wall
        self._watches = watches
        self._tastes: Mapping[str, tuple[Taste, ...]] = {}
        self._of_incidents: dict[tuple[str, str, str], tuple[SeriesVerdict, ...]] = {}
        self._rounds = Rounds(
            "feedback", self._heed, pause=lambda: HEED_SECONDS, undone="verdicts not heeded"
        )
        self._heeded = Gauge(
            "pronoia_feedback_series",
            "Series whose band or course is judged otherwise because of what people said.",
            ["query"],
            registry=ground.registry,
        )

    def of(self, query: str) -> tuple[Taste, ...]:
        """What was said of a query's series."""
        return self._tastes.get(query, ())

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register the endpoints."""
        SeriesFeedback(self).add_routes(router)

    def start(self) -> None:
        """Begin to heed what was said and will be."""
        self._rounds.start()

    async def stop(self) -> None:
        """End."""
        await self._rounds.stop()

    async def say(self, query: str, fingerprint: str, verdict: str, actor: str) -> Mapping[str, Any]:
        """Keep a verdict; see `api.series_feedback.Listener`."""
        labels, event_ms, kind = await self._offload.run(last_event, self._journal, query, fingerprint)
        at_ns = round(self._wall() * 1e9)
        one = SeriesVerdict(query, dict(labels.pairs), event_ms, kind, verdict, actor, at_ns)
        verdict_id = await self._store.verdict_store.put(one)
        await self._heed()
        return {"id": verdict_id, "kind": kind, "effect": self.words(query, labels)}

    async def said(self) -> Sequence[Mapping[str, Any]]:
        """Every verdict; see `api.series_feedback.Listener`."""
        everything = await self._store.verdict_store.everything()
        return [
            {
                "id": one.id,
                "query": one.query,
                "labels": one.labels,
                "event_ms": one.event_ms,
                "kind": one.kind,
                "verdict": one.verdict,
                "by": one.actor,
                "at_ms": one.at_ns // 1_000_000,
                "effect": self.words(one.query, LabelSet(one.labels)),
            }
            for one in reversed(everything)
        ]

    async def take_back(self, verdict_id: int) -> bool:
        """Forget a verdict; see `api.series_feedback.Listener`."""
        found = await self._store.verdict_store.take_back(verdict_id)
        await self._heed()
        return found

    def words(self, query: str, labels: LabelSet) -> str:
        """What was said of a series and what became of it; empty where nothing was said."""
        found = rows_of(self.of(query), (labels,))
        return in_words(found[0]) if found else ""

    async def _heed(self) -> None:
        """Work out what all verdicts come to, and let every watch know."""
        everything = [*await self._store.verdict_store.everything(), *await self._on_incidents()]
        now = self._wall()
        found = await self._offload.run(tastes, everything, now)
        if found == self._tastes:
            return
        self._tastes = found
        self._heeded.clear()
        for query, of_query in found.items():
            self._heeded.labels(query).set(len(of_query))
        for watch in self._watches():
            await watch.heed()

    async def _on_incidents(self) -> list[SeriesVerdict]:
        """Verdicts on incidents that generated alerts were part of; one that is over is looked up once."""
        found: list[SeriesVerdict] = []
        for one in await self._store.response_store.feedback():
            if one.verdict not in ("noise", "useful"):
                continue
            key = one.incident_id, one.actor, one.verdict
            if key in self._of_incidents:
                found.extend(self._of_incidents[key])
                continue
            incident = await self._store.incident(one.incident_id)
            episodes = incident[1] if incident else []
            verdicts = tuple(of_alerts(episodes, one.verdict, actor=one.actor, at_ns=one.at_ns))
            found.extend(verdicts)
            if incident is None or incident[0].state == "resolved":
                self._of_incidents[key] = verdicts
        return found
