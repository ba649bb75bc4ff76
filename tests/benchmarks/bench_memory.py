"""What an alert and an incident cost: in memory while they are remembered and after it, and on the disk.

Alerts fire, end and never come again, days of them on a fast clock, in the parts that `pronoia run` has for
them. Two runs in processes of their own, of small incidents and of large, tell alerts and incidents apart.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import multiprocessing
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from exporters.page import SyntheticPage
from sidecar.app.freed_memory import trim
from sidecar.app.ground import Ground
from sidecar.app.response import Responding
from sidecar.config.load import load_text
from sidecar.prometheus.session import PullMetrics
from sidecar.series import LabelSet
from sidecar.store.connection import FILE, connect
from sidecar.store.sqlite import SqliteStore
from sidecar.telemetry import configure_logs
from tests.benchmarks.table import Row, show
from webhooks.intake.payload import parse
from webhooks.pipeline import REMEMBER_RESOLVED_NS, AlertsLoop

SMALL, LARGE = 1, 10
"""Alerts of an incident."""

RULES, SERVICES = 40, 200
CLUSTERS = 100
"""Incidents of different clusters are never one, however close together they begin."""

AT_ONCE = 20
"""Incidents that begin together, so that they share commits."""

WARM_ALERTS = 2_000
"""Before anything is measured: what is learnt of rules and services, and caches, have their size by then."""

BEGIN = 1_767_225_600.0
ALERT_BUDGET, INCIDENT_BUDGET = 5120, 6144
LEFT_BUDGET = 8 << 20
"""Of all alerts together: memories with bounds of their own fill at first, and then stay as they are."""

STORED_ALERT_BUDGET, STORED_INCIDENT_BUDGET = 1536, 2560


@dataclass(frozen=True)
class Cost:
    """Bytes for each alert of one run, with its share of an incident."""

    held: float
    left: float
    """Once it is no longer remembered."""
    stored: float
    n_incidents: float
    """For each alert, as correlation had it."""


def run(quick: bool = False) -> list[Row]:
    """Alert by alert: memory while it is remembered, memory that is left of it, disk."""
    n_alerts = 2_000 if quick else 8_000
    small, large = _measured(SMALL, n_alerts), _measured(LARGE, n_alerts)
    n_more = small.n_incidents - large.n_incidents
    incident, stored_incident = ((small.held - large.held) / n_more, (small.stored - large.stored) / n_more)
    alert = large.held - incident * large.n_incidents
    stored_alert = large.stored - stored_incident * large.n_incidents
    return [
        _row("an alert in memory, for a day after its end", alert, ALERT_BUDGET),
        _row("an incident in memory, as long", incident, INCIDENT_BUDGET),
        _row(f"left of an alert after that, in incidents of {LARGE}", large.left, LEFT_BUDGET // n_alerts),
        _row(f"left of an alert after that, in incidents of {SMALL}", small.left, LEFT_BUDGET // n_alerts),
        _row("an alert on the disk", stored_alert, STORED_ALERT_BUDGET),
        _row("an incident on the disk", stored_incident, STORED_INCIDENT_BUDGET),
    ]


def _row(what: str, found: float, budget: int) -> Row:
    return Row(what, f"{found:,.0f} bytes", "", None, f"≤ {budget:,} bytes", found <= budget)


def _measured(size: int, n_alerts: int) -> Cost:
    """In a process of its own: what one run has freed must not serve the next."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_cost, (size, n_alerts))


def _cost(size: int, n_alerts: int) -> Cost:
    configure_logs("error")
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_days(Path(directory), size, n_alerts))


async def _days(directory: Path, size: int, n_alerts: int) -> Cost:
    days = await _Days.begin(directory, size)
    await days.pass_with(WARM_ALERTS)  # They stay: what they would leave would serve the next.
    warm, stored_before = _resident_bytes(), days.stored_bytes()
    await days.pass_with(n_alerts)
    held, stored = _resident_bytes(), days.stored_bytes()
    n_incidents = days.n_incidents - WARM_ALERTS // size
    await days.pass_with(0, hours=30)
    # What is freed is there for the next: as many again show what is left of the first.
    await days.pass_with(WARM_ALERTS + n_alerts)
    again = _resident_bytes()
    await days.end()
    return Cost(
        (held - warm) / n_alerts,
        (again - held) / n_alerts,
        (stored - stored_before) / n_alerts,
        n_incidents / n_alerts,
    )


class _Days:
    """The alerts loop on a clock that is set by hand."""

    def __init__(self, directory: Path, size: int) -> None:
        self._directory = directory
        self._size = size
        self._now = BEGIN
        self._serial = itertools.count()

    @classmethod
    async def begin(cls, directory: Path, size: int) -> _Days:
        """With an empty database."""
        days = cls(directory, size)
        config = load_text(
            f"prometheus: {{url: 'http://127.0.0.1:1'}}\nstore: {{directory: {directory}}}\n"
            "webhook: {incident_hold: 30s, storm: {alerts_per_minute: 0}}"
        )
        registry = CollectorRegistry()
        days._ground = Ground(
            registry=registry,
            store=await SqliteStore.open(config.store, registry=registry),
            page=SyntheticPage(max_series=1, registry=registry),
            wall=lambda: days._now,
            pull_metrics=PullMetrics(registry),
        )
        responding = Responding(config, days._ground, alerts=lambda: days._loop, secret=b"secret")
        days._loop = AlertsLoop(
            days._ground.store,
            bus=days._ground.bus,
            config=config.webhook,
            registry=registry,
            teller=responding,
            now=lambda: days._now,
        )
        await days._loop.open()
        return days

    async def end(self) -> None:
        """Let go of the database."""
        await self._loop.stop()
        await self._ground.close()

    @property
    def n_incidents(self) -> int:
        """How many are remembered."""
        return len(self._loop.placing.analyst.correlator.groups)

    def stored_bytes(self) -> int:
        """What the pages of the database take, and of its log those that are not there yet."""
        connection = connect(self._directory / FILE)
        try:
            connection.execute("pragma wal_checkpoint(truncate)")
            return (self._directory / FILE).stat().st_size
        finally:
            connection.close()

    async def pass_with(self, n_alerts: int, *, hours: float = 0.0) -> None:
        """So many alerts, some incidents at a time within six hours; then so many hours of none."""
        step = 3 * 3600.0 * AT_ONCE * self._size / max(n_alerts, 1)
        for _ in range(n_alerts // (AT_ONCE * self._size)):
            incidents = [[self._labels() for _ in range(self._size)] for _ in range(AT_ONCE)]
            begin = self._now
            await self._deliver([[_alert(one, begin) for one in labels] for labels in incidents])
            self._now += step
            await self._deliver([[_alert(one, begin, self._now) for one in labels] for labels in incidents])
            self._now += step
        await self._settle()
        self._now += hours * 3600.0
        await self._settle()

    async def _deliver(self, groups: list[list[dict[str, Any]]]) -> None:
        at_ns = int(self._now * 1e9)
        bodies = [
            json.dumps({"version": "4", "receiver": "pronoia", "alerts": one}).encode() for one in groups
        ]
        await asyncio.gather(
            *(self._loop.intake.accept(parse(body, received_at_ns=at_ns)) for body in bodies)
        )

    async def _settle(self) -> None:
        """Until incidents are stored and told of; then what is long over is forgotten."""
        while self._loop.placing.unfinished:
            await asyncio.sleep(0.01)
        before_ns = int(self._now * 1e9) - REMEMBER_RESOLVED_NS
        self._loop.intake.memory.forget_resolved(before_ns)
        self._loop.placing.forget(before_ns)
        self._loop.placing.flaps.calmed(self._now)
        await asyncio.sleep(1.5)  # Timelines are written each second.
        gc.collect()
        trim()

    def _labels(self) -> dict[str, str]:
        """Of the next alert: a pod that never was before, of the service and cluster of its incident."""
        n = next(self._serial)
        service = f"service-{n // self._size * 7 % SERVICES}"
        return {
            "alertname": f"Rule{n % RULES}",
            "service": service,
            "namespace": f"team-{n // self._size % 8}",
            "pod": f"{service}-{n:x}",
            "instance": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}:9100",
            "severity": "warning",
            "job": "node",
            "cluster": f"cluster-{n // self._size % CLUSTERS}",
        }


def _alert(labels: dict[str, str], begin: float, end: float | None = None) -> dict[str, Any]:
    """As Alertmanager sends it."""
    return {
        "status": "firing" if end is None else "resolved",
        "labels": labels,
        "annotations": {
            "summary": f"{labels['service']} is slow on {labels['instance']}",
            "description": f"The 99th percentile of {labels['pod']} has been above 2 s for ten minutes.",
            "runbook_url": f"https://runbooks.example.com/{labels['alertname']}",
        },
        "startsAt": _stamp(begin),
        "endsAt": "0001-01-01T00:00:00Z" if end is None else _stamp(end),
        "generatorURL": f"http://prometheus:9090/graph?g0.expr=latency+%3E+2&rule={labels['alertname']}",
        "fingerprint": LabelSet(labels).fingerprint(),
    }


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    show("memory", run())
