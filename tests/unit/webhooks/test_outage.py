"""What came and went while we were down is read from Prometheus' history, once, and told to nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.config.webhook import WebhookConfig
from sidecar.series import LabelSet, SeriesBatch
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.deliveries import EPOCH, SECOND
from webhooks.reconcile.loop import ReconcileMetrics
from webhooks.reconcile.outage import FINE_STEP_MS, NOTE, OutageReport

UP = EPOCH / 1e9 + 7200.0
NAN = float("nan")


class Source:
    """A Prometheus in which one alert fired for five minutes, an hour ago, and one fires still."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    async def range(self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, **_: Any) -> SeriesBatch:
        assert step_ms == FINE_STEP_MS
        self.asked.append((start_ms, end_ms))
        times = np.arange(-(-start_ms // step_ms) * step_ms, end_ms + 1, step_ms, dtype=np.int64)
        ago = UP - times / 1000.0
        past = np.where((ago > 3300) & (ago <= 3600), 1.0, NAN)
        still = np.where(ago < 900, 1.0, NAN)
        labels = tuple(LabelSet({"alertname": name, "alertstate": "firing"}) for name in ("Past", "Still"))
        return SeriesBatch("alerts", labels, times, np.array([past, still]))

    async def external_labels(self) -> Mapping[str, str]:
        return {"cluster": "eu"}


@asynccontextmanager
async def reporting(directory: Path, source: Source) -> AsyncIterator[tuple[OutageReport, SqliteStore]]:
    registry = CollectorRegistry()
    store = await SqliteStore.open(StoreConfig(directory=directory), registry=registry)
    metrics = ReconcileMetrics(registry)
    try:
        yield OutageReport(source, store, WebhookConfig(), metrics=metrics, now=lambda: UP), store
    finally:
        await store.close()


async def test_what_is_over_is_stored_once_with_the_labels_of_its_delivery(tmp_path: Path) -> None:
    source = Source()
    async with reporting(tmp_path, source) as (report, store):
        await store.put_note(NOTE, msgspec.json.encode(UP - 7200.0))
        assert await report.look_back(until=UP) == 1
        (episode,) = await store.episodes("")
        assert episode.labels == {"alertname": "Past", "cluster": "eu"}
        assert ((episode.ends_at_ns or 0) - episode.starts_at_ns) // SECOND == 300
        (incident,) = await store.incidents()
        assert (incident.state, incident.n_episodes) == ("resolved", 1)
        assert await report.look_back(until=UP) == 0
        first, second = source.asked[:2]
        assert (first[0], second[1]) == (int((UP - 7200) * 1000), int(UP * 1000))
        assert second[0] == first[1] + 1, "in parts: a week of many alerts is more than memory holds"
        assert source.asked[2:] == [first, second]


@pytest.mark.parametrize("note", [None, UP - 70.0], ids=["never listened before", "listened a moment ago"])
async def test_without_an_outage_nobody_is_asked(tmp_path: Path, note: float | None) -> None:
    source = Source()
    async with reporting(tmp_path, source) as (report, store):
        if note is not None:
            await store.put_note(NOTE, msgspec.json.encode(note))
        assert await report.look_back(until=UP) == 0
        assert source.asked == []
