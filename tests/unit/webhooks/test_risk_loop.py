"""The risk loop: what it stores, what it tells, and that it is silent aloud."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from exporters.page import SyntheticPage
from exporters.risk import RiskPage
from sidecar.config.forecast import RiskConfig
from sidecar.config.model import StoreConfig
from sidecar.events import EventBus
from sidecar.offload import Offload
from sidecar.records import Episode, Incident, Signal
from sidecar.series import LabelSet, ThresholdEta
from sidecar.store.sqlite import SqliteStore
from webhooks.risk.loop import RiskLoop, RiskMetrics
from webhooks.risk.signals import SignalRecorder

NOW = 1_790_000_000.0
DAY = 86400.0


def anomaly(at: float, service: str, score: float) -> dict[str, Any]:
    return {
        "timestamp_ms": int(at * 1000),
        "labels": {"service": service},
        "score": score,
        "query": "q",
    }


def eta(service: str, seconds: float, probability: float = 0.5) -> ThresholdEta:
    return ThresholdEta(LabelSet({"service": service}), "DiskFull", "> 90", probability, seconds)


class World:
    """What the other loops know."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, float, str, str]] = []
        self.etas: list[ThresholdEta] = []

    def recorder(self) -> SignalRecorder:
        return SignalRecorder(changes=lambda: self.changes, etas=lambda: self.etas)


def test_of_one_service_and_moment_the_strongest_anomaly_is_kept() -> None:
    recorder = World().recorder()
    for score in (1.5, 4.0, 2.0):
        recorder.take_anomaly(anomaly(NOW, "cart", score))
    recorder.take_anomaly(anomaly(NOW, "web", 3.0))
    assert set(recorder.take(NOW + 9)) == {
        Signal(int(NOW * 1e9), "anomaly", "cart", 4.0),
        Signal(int(NOW * 1e9), "anomaly", "web", 3.0),
    }
    assert recorder.take(NOW + 10) == []


@pytest.mark.parametrize(
    ("rounds", "told"),
    [
        pytest.param([[eta("cart", 9000.0)]], [0], id="once"),
        pytest.param([[eta("cart", 9000.0)], [eta("cart", 8700.0)]], [0], id="stays near"),
        pytest.param([[eta("cart", 9000.0)], [], [eta("cart", 9.0)]], [0, 2], id="away and back"),
        pytest.param([[eta("cart", 2 * DAY)]], [], id="far"),
        pytest.param([[eta("cart", 9000.0, 0.1)]], [], id="unlikely"),
    ],
)
def test_a_threshold_that_comes_near_is_told_once(
    rounds: Sequence[list[ThresholdEta]], told: list[int]
) -> None:
    world = World()
    recorder = world.recorder()
    found = []
    for n, etas in enumerate(rounds):
        world.etas = etas
        found += [n for one in recorder.take(NOW + n) if (one.kind, one.service) == ("ahead", "cart")]
    assert found == told


def test_a_change_is_told_once_while_it_is_known() -> None:
    world = World()
    recorder = world.recorder()
    world.changes = [("cart", NOW - 60, "deploy", "v2")]
    assert recorder.take(NOW) == [Signal(int((NOW - 60) * 1e9), "change", "cart")]
    world.changes.append(("web", NOW - 30, "flag", ""))
    assert [one.service for one in recorder.take(NOW + 1)] == ["web"]


@asynccontextmanager
async def loop_on(
    directory: Path, world: World
) -> AsyncIterator[tuple[RiskLoop, SqliteStore, SyntheticPage, CollectorRegistry]]:
    registry = CollectorRegistry()
    store = await SqliteStore.open(StoreConfig(directory=directory), registry=registry)
    offload = Offload()
    page = SyntheticPage(max_series=100, registry=registry)
    loop = RiskLoop(
        RiskConfig(),
        store=store,
        recorder=world.recorder(),
        sink=RiskPage(page),
        bus=EventBus(),
        offload=offload,
        metrics=RiskMetrics(registry),
        now=lambda: NOW,
    )
    try:
        yield loop, store, page, registry
    finally:
        offload.close()
        await store.close()


async def fill(store: SqliteStore, n_incidents: int) -> None:
    """Incidents of `cart` within 90 days, each with two alerts in the hours before it."""
    rng = np.random.default_rng(3)
    incidents, episodes = [], []

    def alert(at: float, incident_id: str | None = None) -> Episode:
        ns = int(at * 1e9)
        labels = {"alertname": "X", "service": "cart"}
        return Episode("default", f"{ns}", ns, ns + 1, labels, {}, "", ns, ns, 1, "resolved", incident_id)

    for n, at in enumerate(np.sort(NOW - rng.uniform(0, 90, n_incidents) * DAY).tolist()):
        ns = int(at * 1e9)
        incidents.append(Incident(f"i{n}", "default", "x", ns, ns, ns + 1, "resolved", priority="P1"))
        episodes += [alert(at, f"i{n}"), *(alert(at - rng.uniform(600, 7200)) for _ in range(2))]
    await store.commit_deliveries([], episodes)
    await store.put_incidents(incidents, episodes)


def lines_of(page: SyntheticPage) -> list[str]:
    body = page.render(openmetrics=False, gzipped=False)[0].decode()
    return [line for line in body.splitlines() if line.startswith("pronoia_incident_risk_probability{")]


async def test_enough_incidents_make_lines_on_the_page(tmp_path: Path) -> None:
    async with loop_on(tmp_path, World()) as (loop, store, page, registry):
        await fill(store, 80)
        await loop.cycle()
        lines = lines_of(page)
        assert any('{service="cart",horizon="4h"}' in line for line in lines)
        assert all(0.0 <= float(line.split()[-1]) <= 1.0 for line in lines)
        assert registry.get_sample_value("pronoia_risk_brier_ratio", {"horizon": "4h"}) < 1.0
        assert not any(sample.value for sample in _samples(registry, "pronoia_risk_silent"))


async def test_with_few_incidents_it_is_silent_and_says_why(tmp_path: Path) -> None:
    async with loop_on(tmp_path, World()) as (loop, store, page, registry):
        await fill(store, 8)
        await loop.cycle()
        assert lines_of(page) == []
        assert registry.get_sample_value("pronoia_risk_silent", {"reason": "too_few_incidents"}) == 1.0


async def test_switched_off_it_says_nothing_of_what_it_was(tmp_path: Path) -> None:
    async with loop_on(tmp_path, World()) as (loop, store, _, registry):
        await fill(store, 8)
        await loop.cycle()
        loop._config = RiskConfig(enabled=False)
        loop.start()
        assert _samples(registry, "pronoia_risk_silent") == []


async def test_signals_are_stored_and_their_beginning_noted(tmp_path: Path) -> None:
    world = World()
    world.changes = [("cart", NOW - 60, "deploy", "v2")]
    world.etas = [eta("disk", 3600.0)]
    async with loop_on(tmp_path, world) as (loop, store, _, registry):
        await loop.cycle()
        kept = await store.signal_store.get()
        assert [(one.kind, one.service) for one in kept] == [("change", "cart"), ("ahead", "disk")]
        assert await store.signal_store.since() == int(NOW * 1e9)
        assert registry.get_sample_value("pronoia_risk_signals_total", {"kind": "change"}) == 1.0


def _samples(registry: CollectorRegistry, name: str) -> list[Any]:
    return [sample for family in registry.collect() for sample in family.samples if sample.name == name]
