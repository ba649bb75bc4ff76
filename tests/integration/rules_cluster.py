"""A Kubernetes API with an operator and a real Prometheus, and a rules loop that publishes into them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from rules.kubernetes import RuleObjects
from rules.loop import RulesLoop
from rules.metrics import RuleMetrics
from rules.publish_objects import ObjectPublisher
from sidecar.config.model import QueryConfig, RulesConfig, SourceConfig, StoreConfig
from sidecar.events import EventBus
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.series import LearnedBand
from sidecar.store.sqlite import SqliteStore
from tests.integration.kubernetes_api import KubernetesApi, Operator, account, serving
from tests.integration.rules_bench import learned
from tests.integration.servers import Prometheus, binary, get_json, wait_until

RELEASE = {"release": "kube-prometheus-stack"}
NAME = "pronoia-load"


def query(name: str = "load", expr: str = "load") -> QueryConfig:
    return QueryConfig(name=name, expr=expr, step=60, direction="above", rule_for=0)


class Cluster:
    """API, operator and Prometheus, and a rules loop that publishes into them."""

    def __init__(self, api: KubernetesApi, url: str, operator: Operator, folder: Path) -> None:
        self.api, self.url, self.operator, self.folder = api, url, operator, folder
        self.server = operator.server
        self.queries = [query()]
        self.bands = [learned(10.0)]
        self.store: SqliteStore
        self.client: PrometheusClient
        self.loop: RulesLoop

    def config(self, **settings: Any) -> RulesConfig:
        return RulesConfig.model_validate(
            {
                "publish": "prometheus_rule",
                "prometheus_rule": {
                    "labels": RELEASE,
                    "namespace": "monitoring",
                    "api_url": self.url,
                    "token_file": self.folder / "account" / "token",
                },
                "evaluation_interval": 1,
                "verify_timeout": 15,
                "min_history": 60,
                "margin": 1.0,
                "promtool": binary("promtool"),
                **settings,
            }
        )

    def make_loop(self, **settings: Any) -> RulesLoop:
        """A loop as a start of the process makes it."""
        config = self.config(**settings)
        publisher = ObjectPublisher(
            config.prometheus_rule,
            RuleObjects(config.prometheus_rule, pause_seconds=0.05),
            self.client,
            verify_timeout_seconds=config.verify_seconds,
            poll_seconds=0.2,
        )

        async def bands(names: Collection[str]) -> list[LearnedBand]:
            return [band for band in self.bands if band.query in names]

        return RulesLoop(
            config,
            queries=lambda: self.queries,
            bands=bands,
            server=self.client,
            store=self.store,
            bus=EventBus(),
            metrics=RuleMetrics(CollectorRegistry()),
            publisher=publisher,
        )

    async def states(self) -> list[str]:
        return [revision.state for revision in await self.store.revisions()]

    def loaded(self) -> dict[str, str]:
        """Group and revision of every generated alert that Prometheus has."""
        groups = get_json(f"{self.server.url}/api/v1/rules")["data"]["groups"]
        return {
            group["name"]: rule["annotations"]["pronoia_revision"]
            for group in groups
            for rule in group["rules"]
            if rule["type"] == "alerting" and "pronoia_revision" in rule["annotations"]
        }

    async def until_loaded(self, wanted: dict[str, str]) -> None:
        await asyncio.to_thread(wait_until, lambda: self.loaded() == wanted, what=f"Prometheus has {wanted}")


def make_prometheus(tmp_path: Path, keep: Callable[..., Any]) -> Prometheus:
    """A Prometheus that has the series `load{service="a"}` = 5, and `many` twice."""
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    rule = {"record": "load", "expr": "vector(5)", "labels": {"service": "a"}}
    twins = [
        {"record": "many", "expr": "vector(5)", "labels": {"service": "a", "twin": twin}} for twin in "12"
    ]
    (server.rules / "own.yaml").write_text(json.dumps({"groups": [{"name": "own", "rules": [rule, *twins]}]}))
    server.start()
    wait_until(lambda: len(server.query("many")) == 2, what="the series are there")
    return server


@asynccontextmanager
async def running(prometheus: Prometheus, tmp_path: Path) -> AsyncIterator[Cluster]:
    """All of it, for as long as the block lasts."""
    api = KubernetesApi()
    operator = Operator(api, prometheus, selector=RELEASE)
    account(tmp_path / "account")
    source = SourceConfig(url=prometheus.url, retries=0, timeout=5)
    async with serving(api) as url, operator.working():
        cluster = Cluster(api, url, operator, tmp_path)
        cluster.store = await SqliteStore.open(
            StoreConfig(directory=tmp_path / "data"), registry=CollectorRegistry()
        )
        try:
            async with PrometheusClient(source, metrics=PullMetrics(CollectorRegistry())) as client:
                cluster.client = client
                cluster.loop = cluster.make_loop()
                yield cluster
        finally:
            await cluster.store.close()
