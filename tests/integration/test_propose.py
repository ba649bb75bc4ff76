"""The proposal from a real Prometheus that scrapes the platform and a machine, with people's rules."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from sidecar.cli.demo.live import LivePage
from sidecar.cli.demo.platform import Platform
from sidecar.cli.demo.servers import platform_rules
from sidecar.config.load import load_text
from sidecar.config.model import SourceConfig
from sidecar.errors import PullError
from sidecar.loop.propose import propose
from sidecar.loop.propose_yaml import ConfigFacts, render_yaml
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from tests.integration.servers import Prometheus, Server, binary, free_port, run_blocking, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
async def server(tmp_path: Path, keep: Callable[..., Any]) -> AsyncIterator[Prometheus]:
    """A Prometheus after some scrapes of the platform, a node exporter and itself."""
    ports = {"platform": free_port(), "node": free_port()}
    node = Server(
        [binary("node_exporter"), f"--web.listen-address=127.0.0.1:{ports['node']}"],
        port=ports["node"],
        health="/",
        log=tmp_path / "node.log",
    )
    scrape = [
        {
            "job_name": job,
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
        }
        for job, port in ports.items()
    ]
    prometheus: Prometheus = keep(Prometheus(tmp_path / "prometheus", scrape=scrape))
    (prometheus.rules / "platform.yaml").write_text(yaml.safe_dump(platform_rules()))
    began = time.time()
    # A minute of the platform a second: within one of its minutes a gauge may stand still.
    page = LivePage(Platform(began), now=lambda: began + 60.0 * (time.time() - began))
    await page.start(ports["platform"])
    try:
        await run_blocking(keep(node).start)
        await run_blocking(prometheus.start)

        def scraped() -> bool:
            rates = prometheus.query("count(rate(http_requests_total[1m]))")
            moves = prometheus.query("changes(node_memory_MemAvailable_bytes[1m]) > 0")
            return bool(rates) and bool(prometheus.query("rate(node_cpu_seconds_total[1m])")) and bool(moves)

        await run_blocking(lambda: wait_until(scraped, what="two scrapes of each, and memory that moves"))
        yield prometheus
    finally:
        await page.stop()


async def test_what_people_look_at_comes_first_and_every_count_is_true(server: Prometheus) -> None:
    source = SourceConfig(url=server.url)
    async with PrometheusClient(source, metrics=PullMetrics(CollectorRegistry())) as client:
        proposal = await propose(client)
        names = [query.config.name for query in proposal.queries]
        assert names[:3] == ["api_gateway_errors", "buffering_ratio_high", "cdn_edge_errors"]
        of_machines = {"node_cpu_seconds_rate", "node_memory_mem_available_bytes"}
        assert {"http_requests_rate", "search_latency_seconds", "targets_up"} | of_machines <= set(names)
        assert not [name for name in names if name.startswith(("go_", "process_", "scrape_", "pronoia"))]
        assert {query.config.step for query in proposal.queries} == {15.0}
        for query in proposal.queries:
            batch = await client.instant(
                query.config.expr, at_ms=int(time.time() * 1000), name=query.config.name, max_series=2000
            )
            assert batch.n_series == query.n_series, query.config
        assert proposal.n_series == sum(query.n_series for query in proposal.queries) <= 2000
        reasons = " ".join(left.reason for left in proposal.left_out)
        assert "facts in labels" in reasons
        assert "a date" in reasons

        config = load_text(render_yaml(proposal, ConfigFacts(server.url)))
        assert config.queries == tuple(query.config for query in proposal.queries)


async def test_a_small_budget_is_kept_and_the_rest_is_named(server: Prometheus) -> None:
    async with PrometheusClient(
        SourceConfig(url=server.url), metrics=PullMetrics(CollectorRegistry())
    ) as client:
        proposal = await propose(client, max_series=12, max_queries=4)
    assert len(proposal.queries) <= 4
    assert proposal.n_series <= 12
    assert any("series, more than" in left.reason for left in proposal.left_out) or len(proposal.queries) == 4


async def test_a_server_that_is_not_there_is_an_error() -> None:
    source = SourceConfig(url=f"http://127.0.0.1:{free_port()}", retries=0)
    async with PrometheusClient(source, metrics=PullMetrics(CollectorRegistry())) as client:
        with pytest.raises(PullError):
            await propose(client)
