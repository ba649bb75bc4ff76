"""Incidents, alerts, a clock and an Alertmanager's silences for the tests of responding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prometheus_client import CollectorRegistry

from sidecar.config.enrichment import EnrichmentConfig
from sidecar.errors import PullError, PullReason
from sidecar.events import EventBus
from sidecar.records import Cause, Episode, Incident
from sidecar.store.sqlite import SqliteStore
from webhooks.respond.desk import Desk, DeskMetrics
from webhooks.respond.enrich import Enricher, EnrichMetrics
from webhooks.respond.silences import _seconds

NOW = 1_750_000_000.0


def incident(name: str = "i1", **fields: Any) -> Incident:
    at_ns = int(NOW * 1e9)
    given: dict[str, Any] = {
        "title": "db: Down",
        "started_at_ns": at_ns,
        "last_change_ns": at_ns,
        "priority": "P2",
        "n_episodes": 3,
        "n_firing": 3,
        "category": "availability",
        "causes": [Cause("f", "db", 1.0, ["alerted first"])],
        **fields,
    }
    return Incident(incident_id=name, tenant="default", **given)


def plain_enricher(config: EnrichmentConfig | None = None, episodes: Sequence[Episode] = ()) -> Enricher:
    """One that knows these alerts of every incident."""

    async def members(_: str) -> list[Episode]:
        return list(episodes)

    return Enricher(
        config or EnrichmentConfig(),
        episodes=members,
        metrics=EnrichMetrics(CollectorRegistry()),
        now=lambda: NOW,
    )


def desk_over(store: SqliteStore, **given: Any) -> Desk:
    """One that keeps what people do there; of its arguments those that a test is about."""
    usual: dict[str, Any] = {"bus": EventBus(), "metrics": DeskMetrics(CollectorRegistry()), "now": Clock()}
    return Desk(store.response_store, find=store.incident, **{**usual, **given})


class Clock:
    """A clock that is set by hand."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def episode(
    rule: str, n: int = 0, *, lasted: float | None = None, home: str = "i1", at: float = 0.0
) -> Episode:
    begin = int(NOW * 1e9) + int(at * 1e9)
    end = None if lasted is None else begin + int(lasted * 1e9)
    return Episode(
        "default",
        f"{rule}/{n}",
        begin,
        end,
        {"alertname": rule, "service": "db", "pod": f"p{n}"},
        {},
        "",
        begin,
        begin,
        state="firing" if end is None else "resolved",
        incident_id=home,
    )


class Held:
    """An Alertmanager's silences, with its rules: changed in place only with the same matchers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.made: list[dict[str, Any]] = []
        self.down = False

    async def silences(self) -> list[dict[str, Any]]:
        if self.down:
            raise PullError(PullReason.UNREACHABLE, "away", retryable=True)
        for one in self.made:
            if _seconds(one["endsAt"]) <= self.clock.now:
                one["status"] = {"state": "expired"}
        return [dict(one) for one in self.made]

    async def put_silence(self, silence: dict[str, Any]) -> str:
        for one in self.made:
            if one["id"] == silence.get("id"):
                assert one["matchers"] == silence["matchers"]
                assert one["startsAt"] == silence["startsAt"]
                one.update(silence)
                return str(one["id"])
        made = {**silence, "id": str(len(self.made)), "status": {"state": "active"}}
        self.made.append(made)
        return str(made["id"])

    async def expire_silence(self, silence_id: str) -> None:
        next(one for one in self.made if one["id"] == silence_id)["status"] = {"state": "expired"}
