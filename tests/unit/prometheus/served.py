"""A local server that answers as a handler says, and the client of it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from sidecar.config.model import SourceConfig
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.series import SeriesBatch

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
GOOD = {
    "status": "success",
    "data": {"resultType": "vector", "result": [{"metric": {"a": "b"}, "value": [60, "1"]}]},
}


@asynccontextmanager
async def client(
    handler: Handler, *, monotonic: Callable[[], float] = time.monotonic, **settings: Any
) -> AsyncIterator[tuple[PrometheusClient, CollectorRegistry]]:
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    registry = CollectorRegistry()
    config = SourceConfig(url=f"http://127.0.0.1:{port}", **{"retries": 0, "timeout": 10.0, **settings})
    try:
        metrics = PullMetrics(registry)
        async with PrometheusClient(config, metrics=metrics, monotonic=monotonic) as opened:
            yield opened, registry
    finally:
        await runner.cleanup()


async def ask(opened: PrometheusClient) -> SeriesBatch:
    return await opened.instant("up", at_ms=60_000, name="q", max_series=10)
