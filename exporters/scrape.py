"""The two endpoints that Prometheus scrapes: `/synthetic` and `/metrics`."""

from __future__ import annotations

import asyncio
import gzip

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as openmetrics_exposition

from exporters.negotiate import wants_gzip, wants_openmetrics
from exporters.page import OPENMETRICS_TYPE, TEXT_TYPE, SyntheticPage
from exporters.piecewise import send

VARY = {"Vary": "Accept, Accept-Encoding"}


class ScrapeEndpoints:
    """Handlers of the scrape endpoints; nothing is computed on a scrape that was computed before."""

    def __init__(self, page: SyntheticPage, registry: CollectorRegistry) -> None:
        self._page = page
        self._registry = registry

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Register both endpoints (GET and HEAD)."""
        router.add_get("/synthetic", self.synthetic)
        router.add_get("/metrics", self.metrics)

    async def synthetic(self, request: web.Request) -> web.StreamResponse:
        """The synthetic series, in the format the scraper prefers."""
        openmetrics = wants_openmetrics(request.headers.get("Accept", ""))
        gzipped = wants_gzip(request.headers.get("Accept-Encoding", ""))
        body, headers = await asyncio.to_thread(self._page.render, openmetrics=openmetrics, gzipped=gzipped)
        return await send(request, body, {**headers, **VARY})

    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """The sidecar's own metrics; on the loop's thread, where the objects they look at change."""
        openmetrics = wants_openmetrics(request.headers.get("Accept", ""))
        if openmetrics:
            body = openmetrics_exposition.generate_latest(self._registry)  # type: ignore[no-untyped-call]
        else:
            body = generate_latest(self._registry)
        headers = {"Content-Type": OPENMETRICS_TYPE if openmetrics else TEXT_TYPE, **VARY}
        if wants_gzip(request.headers.get("Accept-Encoding", "")) and len(body) > 4096:
            body = gzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
        return await send(request, body, headers)
