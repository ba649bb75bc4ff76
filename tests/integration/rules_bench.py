"""A rules loop on a real Prometheus that has one series, and what to feed it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from rules.document import RuleFile
from rules.loop import RulesLoop
from rules.metrics import RuleMetrics
from sidecar.config.model import QueryConfig, RulesConfig, SourceConfig, StoreConfig
from sidecar.events import EventBus
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.series import LabelSet, LearnedBand
from sidecar.store.sqlite import SqliteStore
from tests.integration.servers import Prometheus, binary, wait_until

QUERY = QueryConfig(name="load", expr="load", step=60, direction="above", rule_for=0)
FILE = "pronoia-load.rules.yaml"


def learned(upper: float, expr: str = "load", name: str = "load") -> LearnedBand:
    """A band from nothing to `upper`, with its middle between."""
    full = np.ones((1, 168))
    return LearnedBand(
        name,
        expr,
        (LabelSet({"service": "a"}),),
        full * upper / 2,
        full * 0.0,
        full * upper,
        np.array([10**6]),
    )


class Late:
    """Warnings ahead that are not tried yet, or were."""

    groups = frozenset({"pronoia-ahead"})

    def __init__(self) -> None:
        self.known: list[RuleFile] | None = None

    def files(self) -> list[RuleFile] | None:
        return self.known


class Bench:
    """A rules loop, its store and its client, and what to feed it."""

    def __init__(self, loop: RulesLoop, store: SqliteStore, client: PrometheusClient, rules: Path) -> None:
        self.loop, self.store, self.client, self.rules = loop, store, client, rules
        self.band: LearnedBand | None = learned(10.0)
        self.query = QUERY

    async def states(self) -> list[str]:
        return [revision.state for revision in await self.store.revisions()]


@asynccontextmanager
async def bench(
    server: Prometheus,
    tmp_path: Path,
    rules: Path | None = None,
    fixed: Sequence[RuleFile] = (),
    *,
    proved: bool = False,
    late: Late | None = None,
    **settings: Any,
) -> AsyncIterator[Bench]:
    store = await SqliteStore.open(StoreConfig(directory=tmp_path / "data"), registry=CollectorRegistry())
    config = RulesConfig(
        directory=rules or server.rules,
        evaluation_interval=1,
        verify_timeout=10,
        min_history=60,
        margin=1.0,
        promtool=binary("promtool"),
        **settings,
    )
    source = SourceConfig(url=server.url, retries=0, timeout=5)
    async with PrometheusClient(source, metrics=PullMetrics(CollectorRegistry())) as client:
        holder: list[Bench] = []

        async def bands(names: Collection[str]) -> list[LearnedBand]:
            return [band] if (band := holder[0].band) is not None and band.query in names else []

        loop = RulesLoop(
            config,
            queries=lambda: [holder[0].query],
            bands=bands,
            server=client,
            store=store,
            bus=EventBus(),
            metrics=RuleMetrics(CollectorRegistry()),
            source=client if proved else None,
            fixed=fixed,
            late=late,
        )
        holder.append(Bench(loop, store, client, rules or server.rules))
        try:
            yield holder[0]
        finally:
            await store.close()


def make_loaded(tmp_path: Path, keep: Callable[..., Any]) -> Prometheus:
    """A Prometheus that has the series `load{service="a"}` = 5 through a rule of its own."""
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    rule = {"record": "load", "expr": "vector(5)", "labels": {"service": "a"}}
    (server.rules / "own.yaml").write_text(json.dumps({"groups": [{"name": "own", "rules": [rule]}]}))
    server.start()
    wait_until(lambda: server.query("load"), what="the series is there")
    return server
