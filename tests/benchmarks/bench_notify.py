"""Notification: from the decision to the target's having the message, at 100 incidents a minute, one slow."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from sidecar.config.channels import NotifyConfig, NotifyTarget
from sidecar.config.enrichment import EnrichmentConfig, EnrichmentQuery
from sidecar.config.model import StoreConfig
from sidecar.records import Cause, Episode, Incident
from sidecar.series import SeriesBatch
from sidecar.store.sqlite import SqliteStore
from tests.benchmarks.table import Row, show
from webhooks.notify.audience import Everybody
from webhooks.notify.channel import Outgoing
from webhooks.notify.channels.apprise import Apprise
from webhooks.notify.message import document
from webhooks.notify.notifier import Notifier
from webhooks.notify.outbox import NotifyMetrics
from webhooks.respond.enrich import Enricher, EnrichMetrics

PER_MINUTE = 100
BUDGET_SECONDS = 2.0
SLOW_SECONDS = 10.0


def run(quick: bool = False) -> list[Row]:
    """The rows of the table; `quick` sends for 12 s in place of a minute."""
    return asyncio.run(_run(20 if quick else PER_MINUTE))


async def _run(n: int) -> list[Row]:
    arrived: dict[str, dict[str, float]] = {}

    async def take(request: web.Request) -> web.Response:
        body = await request.json()
        name = request.path.strip("/").partition("/")[0]
        if name == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        incident_id = body.get("dedup_key", "").removeprefix("pronoia/") or body.get("incident", {}).get(
            "incident_id", body.get("title", "")
        )
        arrived.setdefault(name, {}).setdefault(incident_id, time.time())
        return web.json_response({}, status=202)

    app = web.Application()
    app.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    decided: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as directory:
        registry = CollectorRegistry()
        store = await SqliteStore.open(StoreConfig(directory=Path(directory)), registry=registry)
        notifier = Notifier(
            store,
            _config(url),
            hold_seconds=0.0,
            metrics=NotifyMetrics(registry),
            audience=_Looking(store, registry),
        )
        await notifier.open([])
        began = time.monotonic()
        for at in range(n):
            await asyncio.sleep(max(began + at * 60.0 / PER_MINUTE - time.monotonic(), 0.0))
            decided[f"i{at}"] = time.time()
            notifier.consider([_incident(f"i{at}")])
        deadline = time.monotonic() + 30.0
        while time.monotonic() < deadline and any(len(arrived.get(w, {})) < n for w in ("hook", "pager")):
            await asyncio.sleep(0.05)
        await notifier.stop()
        await store.close()
    theirs = await _beside(url)
    await runner.cleanup()
    rows = []
    for what, name in (("webhook", "hook"), ("PagerDuty", "pager")):
        waits = sorted(arrived[name][one] - at for one, at in decided.items() if one in arrived[name])
        p99 = waits[min(int(0.99 * len(waits)), len(waits) - 1)]
        rows.append(
            Row(
                what=f"{what}, {len(waits)} of {n} incidents, beside a target and a Prometheus that hang",
                ours=f"p99 {p99 * 1e3:.0f} ms",
                theirs=f"apprise, one message: {theirs * 1e3:.0f} ms",
                ratio=None,
                budget=f"p99 ≤ {BUDGET_SECONDS:g} s",
                ok=len(waits) == n and p99 <= BUDGET_SECONDS,
            )
        )
    return rows


class _Looking(Everybody):
    """All targets; each incident is looked up first, in a Prometheus that hangs."""

    def __init__(self, store: SqliteStore, registry: CollectorRegistry) -> None:
        super().__init__(("hook", "pager", "slow"))
        query = EnrichmentQuery(name="errors", expr='sum(errors{service="{{ service }}"})')

        async def episodes(incident_id: str) -> list[Episode]:
            found = await store.incident(incident_id)
            return found[1] if found is not None else []

        self._enricher = Enricher(
            EnrichmentConfig(queries=(query,)),
            episodes=episodes,
            metrics=EnrichMetrics(registry),
            now=time.time,
        )
        self._enricher.ask(self)

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        """Never in time."""
        await asyncio.sleep(SLOW_SECONDS)
        raise AssertionError("nobody waits so long")

    async def prepare(self, incidents: Sequence[Incident]) -> None:
        """Ask."""
        await self._enricher.prepare(incidents)


def _config(url: str) -> NotifyConfig:
    targets: list[dict[str, Any]] = [
        {"name": "hook", "url": f"{url}/hook"},
        {"name": "pager", "pagerduty": {"routing_key": "r", "api_url": f"{url}/pager"}},
        {"name": "slow", "url": f"{url}/slow"},
    ]
    return NotifyConfig(targets=tuple(NotifyTarget.model_validate(one) for one in targets))


def _incident(name: str) -> Incident:
    now_ns = time.time_ns()
    cause = Cause("f", "db", 1.0, ["alerted first"])
    return Incident(name, "default", f"db: Down {name}", now_ns, now_ns, causes=[cause], priority="P1")


async def _beside(url: str) -> float:
    """Seconds of one message through apprise, after its import."""
    channel = Apprise(f"{url.replace('http://', 'json://')}/beside", 15.0)
    took = 0.0
    for name in ("first", "second"):
        began = time.perf_counter()
        await channel.send(Outgoing(document("opened", _incident(name), key=name)))
        took = time.perf_counter() - began
    return took


if __name__ == "__main__":
    show("notify", run())
