"""Webhook intake: durable alerts a second, beside a receiver that commits each request by itself.

The server is `pronoia run` in its own process, the load a client in this one:
both share the machine's cores, so the figures are what one such machine does.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.benchmarks.table import Row, show
from tests.integration.servers import Pronoia, Server, free_port, http, stopping, wait_until

PATH = "/webhooks/alertmanager"
# Closed loop: what waits is connections × size, so at a given rate fewer connections mean less waiting.
CONNECTIONS = {1: 32, 10: 32, 200: 8}
SECONDS = 3.0
P99_BUDGET_MS = 100.0
BUDGETS = {1: 0.0, 10: 20_000.0, 200: 50_000.0}
MOST_REPEATED = 100_000
"""Alerts that are repeated: what is more than memory holds would be read as new."""

CALM_CPU, CALM_SECONDS = 0.1, 120.0
"""A server that uses less CPU than this share of a core is done with its start."""


class Load(NamedTuple):
    """What one run of senders saw."""

    speed: float
    """Alerts a second."""
    p50_ms: float
    p99_ms: float
    n_requests: int


def run(quick: bool = False) -> list[Row]:
    """Three sizes of delivery, all new episodes, then what was delivered last as repeats."""
    seconds = 1.0 if quick else SECONDS
    with tempfile.TemporaryDirectory() as directory:
        naive = _naive_speed(Path(directory), 10, seconds)
        server = Pronoia(
            Path(directory) / "pronoia",
            "--prometheus",
            "http://127.0.0.1:1",
            "--data",
            f"{directory}/data",
            "--log-level",
            "error",
        )
        rows: list[Row] = []
        with stopping(server):
            server.start()
            wait_until_calm(server)
            for size, budget in BUDGETS.items():
                bodies = requests_of(size, min(int(150_000 * seconds / size) + 1, 30_000))
                for kind in ("new", "repeated"):
                    spent = _cpu_seconds(server)
                    speed, p50, p99, n_requests = speed_of(
                        server.port, bodies, seconds, endless=kind == "repeated"
                    )
                    cost = (_cpu_seconds(server) - spent) / (n_requests * size) * 1e6
                    bodies = bodies[:n_requests][-MOST_REPEATED // size :]
                    ratio = speed / naive if size == 10 else None
                    beside = f"{naive:,.0f} alerts/s (a commit a request)" if size == 10 else ""
                    rows.append(
                        Row(
                            f"{kind} alerts, {size} a delivery, {CONNECTIONS[size]} senders",
                            f"{speed:,.0f} alerts/s, p50 {p50:.1f} ms, p99 {p99:.1f} ms, {cost:.0f} µs CPU",
                            beside,
                            ratio,
                            f"≥ {budget:,.0f}, p99 ≤ {P99_BUDGET_MS:.0f} ms" if budget else "",
                            speed >= budget and (not budget or p99 <= P99_BUDGET_MS),
                        )
                    )
        return rows


def _cpu_seconds(server: Server) -> float:
    """CPU that the server has used: on a busy machine it says more than the speed does."""
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(server: Server) -> int:
    """Memory that the server holds."""
    assert server.process is not None
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def wait_until_calm(server: Server) -> None:
    """Let the server compile and load what it does at its start."""

    def calm() -> bool:
        spent, began = _cpu_seconds(server), time.perf_counter()
        time.sleep(0.5)
        return _cpu_seconds(server) - spent < CALM_CPU * (time.perf_counter() - began)

    wait_until(calm, timeout=CALM_SECONDS, what="a calm server")


_serial = itertools.count()


def requests_of(size: int, n: int) -> list[bytes]:
    """Requests, headers included, whose alerts are all different.

    Alerts of one delivery began together, when their rule was evaluated; those of others at other times.
    """
    made = []
    for delivery in range(n):
        starts = f"2026-01-01T{delivery // 3600 % 24:02}:{delivery // 60 % 60:02}:{delivery % 60:02}.123Z"
        alerts = [
            {
                "status": "firing",
                "labels": {
                    "alertname": "HighErrorRate",
                    "service": f"service-{i % 50}",
                    "severity": "warning",
                    "instance": f"10.0.{next(_serial)}:9100",
                    "cluster": "eu-1",
                },
                "annotations": {
                    "summary": "error rate above 5 % for ten minutes",
                    "runbook_url": "http://r/x",
                },
                "startsAt": starts,
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://prometheus:9090/graph?g0.expr=x",
                # As ragged as in life: what lies beside each other in an index would flatter the store.
                "fingerprint": f"{next(_serial) * 0x9E3779B97F4A7C15 % 2**64:016x}",
            }
            for i in range(size)
        ]
        document = {
            "version": "4",
            "groupKey": f'{{}}:{{alertname="HighErrorRate", group="{delivery}"}}',
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "pronoia",
            "groupLabels": {},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://am:9093",
            "alerts": alerts,
        }
        body = json.dumps(document).encode()
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        made.append(head.encode() + body)
    return made


def speed_of(port: int, requests: list[bytes], seconds: float, *, endless: bool = False) -> Load:
    """What so many senders see; `endless`: all over again where there are no more requests."""
    return asyncio.run(_load(port, requests, seconds, endless=endless))


async def _load(port: int, requests: list[bytes], seconds: float, *, endless: bool) -> Load:
    latencies: list[float] = []
    feed = itertools.cycle(requests) if endless else iter(requests)
    deadline = time.perf_counter() + seconds
    size = requests[0].count(b'"startsAt"')

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        for request in feed:
            began = time.perf_counter()
            if began > deadline:
                break
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            latencies.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(CONNECTIONS[size])))
    spent = time.perf_counter() - began
    p50, p99 = np.percentile(np.array(latencies) * 1000, [50, 99])
    return Load(len(latencies) * size / spent, float(p50), float(p99), len(latencies))


_NAIVE = f"""
import sqlite3, sys
from aiohttp import web
import json
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("pragma journal_mode=wal"); db.execute("pragma synchronous=full")
async def handle(request):
    payload = json.loads(await request.read())
    db.execute("begin")
    db.executemany("insert or replace into episodes values (?, ?, ?)",
                   [(a["fingerprint"], a["startsAt"], json.dumps(a)) for a in payload["alerts"]])
    db.execute("commit")
    return web.Response(text="ok")
db.execute("create table episodes (f text, starts text, body text, primary key (f, starts))")
app = web.Application(client_max_size=2**26); app.router.add_post("{PATH}", handle)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), print=None, access_log=None)
"""


def _naive_speed(directory: Path, size: int, seconds: float) -> float:
    """The same load on a receiver that commits each request by itself."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", _NAIVE, str(directory / "naive.db"), str(port)])
    try:
        wait_until(lambda: http(f"http://127.0.0.1:{port}/")[0] == 404, what="naive receiver")
        speed = speed_of(port, requests_of(size, 20_000), seconds).speed
    finally:
        process.kill()
        process.wait()
    assert sqlite3.connect(directory / "naive.db").execute("select count(*) from episodes").fetchone()[0] > 0
    return speed


if __name__ == "__main__":
    show("webhook", run())
