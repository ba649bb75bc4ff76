"""From delivery to incident: how late the decision is, what judging costs, what history and storms take.

In a storm an alert's incident is decided as it is stored; below that, alerts are compared with each other.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.config.webhook import WebhookConfig
from sidecar.events import EventBus
from sidecar.records import Episode, Incident
from sidecar.store import schema
from sidecar.store.bulk import execute_rows
from sidecar.store.connection import FILE, connect
from sidecar.store.sqlite import SqliteStore
from sidecar.telemetry import configure_logs
from tests.benchmarks.bench_webhook import requests_of, resident_bytes, speed_of, wait_until_calm
from tests.benchmarks.table import Row, show
from tests.integration.servers import Pronoia, stopping
from webhooks.intake.fold import MAX_EPISODES
from webhooks.intake.payload import parse
from webhooks.pipeline import AlertsLoop

RULES, SERVICES = 40, 60
DECISION_BUDGET_SECONDS = 1.0
JUDGING_BUDGET_SECONDS = 0.001
SLOWER_BUDGET = 1.2
STORED, TRIES = 1_000_000, 3
MORE_MEMORY_BUDGET = 1.15


def run(quick: bool = False) -> list[Row]:
    """Decisions at 5,000 alerts/s and at a busy hour's rate; judging; intake with a long history."""
    configure_logs("error")
    seconds = 2.0 if quick else 5.0
    rows = [
        _decision("a storm: 5,000 new alerts/s", rate=5000, size=10, seconds=seconds),
        _decision("a burst: 500 new alerts at once", rate=500, size=50, seconds=1.0),
        _judging(),
    ]
    rows.append(_history(100_000 if quick else STORED, 1.0 if quick else 3.0))
    rows.append(_memory(MAX_EPISODES // 200 * 200, 1 if quick else 4))
    return rows


_serial = itertools.count()


def _body(size: int, at: float) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
    alerts = [
        {
            "status": "firing",
            "labels": {
                "alertname": f"Rule{n % RULES}",
                "service": f"service-{n * 7 % SERVICES}",
                "instance": f"10.0.{n}:80",
                "severity": "warning",
            },
            "annotations": {"summary": f"service-{n * 7 % SERVICES} is slow, p99 above 2 s"},
            "startsAt": stamp,
        }
        for n in itertools.islice(_serial, size)
    ]
    return json.dumps({"version": "4", "alerts": alerts}).encode()


class TimedStore(SqliteStore):
    """Notes when each episode's incident was stored."""

    decided: dict[tuple[str, str, int], float]

    async def put_incidents(self, incidents: Sequence[Incident], members: Sequence[Episode]) -> None:
        await super().put_incidents(incidents, members)
        now = time.perf_counter()
        for episode in members:
            self.decided.setdefault(episode.key, now)


def _decision(what: str, *, rate: int, size: int, seconds: float) -> Row:
    with tempfile.TemporaryDirectory() as directory:
        delays = asyncio.run(_delays(Path(directory), rate, size, seconds))
    p50, p99 = np.percentile(np.array(delays), [50, 99])
    return Row(
        f"{what}, delivery to decision",
        f"p50 {p50 * 1000:,.0f} ms, p99 {p99 * 1000:,.0f} ms ({len(delays):,} alerts)",
        "",
        None,
        f"p99 ≤ {DECISION_BUDGET_SECONDS:.0f} s",
        bool(p99 <= DECISION_BUDGET_SECONDS),
    )


async def _delays(directory: Path, rate: int, size: int, seconds: float) -> list[float]:
    """Seconds from the arrival of each alert until its incident is stored."""
    registry = CollectorRegistry()
    store = await TimedStore.open(StoreConfig(directory=directory), registry=registry)
    assert isinstance(store, TimedStore)
    store.decided = {}
    loop = AlertsLoop(store, bus=EventBus(), config=WebhookConfig(), registry=registry)
    await loop.open()
    arrived: dict[tuple[str, str, int], float] = {}

    async def deliver(body: bytes) -> None:
        began = time.perf_counter()
        delivery = parse(body, received_at_ns=time.time_ns())
        await loop.intake.accept(delivery)
        for event in delivery.alerts:
            episode = loop.intake.memory.episodes[delivery.tenant, event.fingerprint]
            arrived[episode.key] = began
            if episode.bonds.get("storm") and episode.key not in loop.placing.unsaved.members:
                store.decided.setdefault(episode.key, time.perf_counter())  # Born into it as it was stored.

    began = time.perf_counter()
    tasks = []
    for n in range(int(rate * seconds / size)):
        due = began + n * size / rate if seconds > 1.0 else began
        await asyncio.sleep(max(due - time.perf_counter(), 0.0))
        tasks.append(asyncio.create_task(deliver(_body(size, time.time()))))
    await asyncio.gather(*tasks)
    async with asyncio.timeout(120.0):
        while len(store.decided) < len(arrived):
            await asyncio.sleep(0.01)
    await loop.stop()
    await store.close()
    return [store.decided[key] - at for key, at in arrived.items()]


def _judging() -> Row:
    """Causes, priority and noise of incidents of twenty alerts, for each alert."""
    from webhooks.intake.fold import Memory
    from webhooks.judge.analyst import Analyst

    analyst, memory = Analyst(), Memory()
    spent: list[float] = []
    for i in range(200):
        delivery = parse(
            _body(20, 1_767_225_600.0 + 3600.0 * i), received_at_ns=int((1_767_225_600 + 3600 * i) * 1e9)
        )
        changes = memory.fold([delivery])
        memory.apply(changes)
        groups = {
            analyst.correlator.add(analyst.sight(one), now=one.first_seen_ns / 1e9).incident_id
            for one in changes.durable()
        }
        for group in (analyst.correlator.groups[one] for one in groups):
            began = time.thread_time()  # Of what is pure computation, a busy machine's waits are no part.
            analyst.consider(group, now=group.last + 60.0, usual=analyst.usual() if i % 20 == 0 else {})
            spent.append((time.thread_time() - began) / len(group.members))
    p50, p99 = np.percentile(np.array(spent), [50, 99])
    return Row(
        "judging one alert: causes, priority, noise",
        f"p50 {p50 * 1e6:,.0f} µs, p99 {p99 * 1e6:,.0f} µs of CPU",
        "",
        None,
        "p99 ≤ 1 ms",
        bool(p99 <= JUDGING_BUDGET_SECONDS),
    )


def _history(n_stored: int, seconds: float) -> Row:
    """New alerts a second over HTTP, with and without a long history: each the best of some tries in turn."""
    requests = requests_of(10, int(40_000 * seconds / 10) * 2 * TRIES)
    speeds = {"empty": 0.0, "full": 0.0}
    with tempfile.TemporaryDirectory() as directory:
        _fill(Path(directory) / "full", n_stored)
        servers = {
            name: Pronoia(
                Path(directory) / f"pronoia-{name}",
                *(
                    "--prometheus",
                    "http://127.0.0.1:1",
                    "--data",
                    f"{directory}/{name}",
                    "--log-level",
                    "error",
                ),
            )
            for name in speeds
        }
        with stopping(*servers.values()):
            for server in servers.values():
                server.start()
                wait_until_calm(server)
            for n in range(2 * TRIES):
                name = ("empty", "full")[n % 2]
                load = speed_of(servers[name].port, requests[n :: 2 * TRIES], seconds)
                speeds[name] = max(speeds[name], load.speed)
    ratio = speeds["empty"] / speeds["full"]
    return Row(
        f"intake of new alerts, {n_stored:,} episodes stored",
        f"{speeds['full']:,.0f} alerts/s",
        f"{speeds['empty']:,.0f} alerts/s (none stored)",
        ratio,
        f"≤ {SLOWER_BUDGET:.1f}× slower",
        ratio <= SLOWER_BUDGET,
    )


def _memory(n_alerts: int, n_more: int) -> Row:
    """What a storm of as many alerts as memory holds takes, and one that goes on so many times as long."""
    with tempfile.TemporaryDirectory() as directory:
        server = Pronoia(
            Path(directory) / "pronoia",
            *("--prometheus", "http://127.0.0.1:1", "--data", f"{directory}/data", "--log-level", "error"),
        )
        with stopping(server):
            server.start()
            wait_until_calm(server)
            found = []
            for _ in range(1 + n_more):
                speed_of(server.port, requests_of(200, n_alerts // 200), seconds=600.0)
                found.append(resident_bytes(server))
    ratio = found[-1] / found[0]
    return Row(
        f"memory in a storm of {n_alerts * (1 + n_more):,} alerts",
        f"{found[-1] / 1e6:,.0f} MB",
        f"{found[0] / 1e6:,.0f} MB (after {n_alerts:,})",
        ratio,
        f"≤ {MORE_MEMORY_BUDGET}× as much",
        ratio <= MORE_MEMORY_BUDGET,
    )


def _fill(directory: Path, n: int) -> None:
    """A database with so many episodes of the past year, by the columns of its own schema."""
    directory.mkdir()
    connection = connect(directory / FILE)
    schema.migrate(connection)
    now_ns = time.time_ns()
    columns = [row[1] for row in connection.execute("pragma table_info(episodes)")]
    step_ns = 365 * 86_400 * 10**9 // n

    def row(i: int) -> tuple[Any, ...]:
        start = now_ns - 2 * 86_400 * 10**9 - (n - i) * step_ns
        values: dict[str, Any] = {
            "tenant": "default",
            # Spread like hashes, so that the index is as ragged as in life.
            "fingerprint": f"{i * 0x9E3779B97F4A7C15 % 2**64:016x}",
            "starts_at_ns": start,
            "ends_at_ns": start + 60 * 10**9,
            "labels": f'{{"alertname":"Rule{i % RULES}","service":"service-{i % SERVICES}"}}',
            "annotations": '{"summary":"error rate above 5 % for ten minutes"}',
            "generator_url": "http://prometheus:9090/graph?g0.expr=x",
            "first_seen_ns": start,
            "last_seen_ns": start + 60 * 10**9,
            "deliveries": 2,
            "state": "resolved",
            "incident_id": f"inc-{i // 10:012x}",
        }
        return tuple(values.get(column) for column in columns)

    for first in range(0, n, 50_000):
        connection.execute("begin")
        execute_rows(
            connection,
            f"insert into episodes ({', '.join(columns)})",
            [row(i) for i in range(first, min(first + 50_000, n))],
        )
        connection.execute("commit")
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()


if __name__ == "__main__":
    show("incidents", run())
