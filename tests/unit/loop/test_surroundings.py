"""What is asked beside a query: more than the steps that are judged, where what was before still counts."""

from __future__ import annotations

import numpy as np
from prometheus_client import CollectorRegistry

from sidecar.config.business import BusinessConfig, DeploymentsConfig
from sidecar.config.model import QueryConfig
from sidecar.engine.model import QueryModel
from sidecar.engine.surroundings import Surroundings
from sidecar.events import EventBus
from sidecar.loop.metrics import LoopMetrics
from sidecar.loop.surroundings import AskedSurroundings
from sidecar.loop.upheavals import Upheavals
from sidecar.series import LabelSet, SeriesBatch

NOW_MS = 1_790_000_040_000


async def test_a_deployment_of_before_a_restart_counts_after_it() -> None:
    query = QueryConfig(name="q", expr="up", step=60)
    business = BusinessConfig(deployments=DeploymentsConfig(expr="deployed", lasts=330))
    asked: list[tuple[int, int]] = []

    async def pull(expr: str, start_ms: int, end_ms: int) -> SeriesBatch:
        asked.append((start_ms - NOW_MS, end_ms - NOW_MS))
        times = np.arange(start_ms, end_ms + 1, 60_000, dtype=np.int64)
        values = (times == NOW_MS - 180_000)[None, :].astype(np.float64)
        return SeriesBatch("q", (LabelSet({"job": "api"}),), times, values)

    upheavals = Upheavals(
        query, bus=EventBus(), metrics=LoopMetrics(CollectorRegistry()), now=lambda: NOW_MS / 1000
    )
    surroundings = AskedSurroundings(query, business, upheavals, pull)
    model = QueryModel(query)
    model.surroundings = Surroundings(query, business)
    await surroundings.look(model, NOW_MS, NOW_MS)
    assert model.surroundings.changing(NOW_MS)
    await surroundings.look(model, NOW_MS + 60_000, NOW_MS + 60_000)
    assert asked == [(-360_000, 0), (60_000, 60_000)]
