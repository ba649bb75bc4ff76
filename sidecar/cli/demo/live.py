"""The platform's present: an HTTP page with its current values for Prometheus to scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import groupby

import numpy as np
from aiohttp import web

from sidecar.cli.demo.platform import Platform, sample_name

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(platform: Platform, at_seconds: float) -> str:
    """Every series that exists at that time, in Prometheus' text format."""
    return "".join(_lines(platform, at_seconds))


def _lines(platform: Platform, at_seconds: float) -> Iterator[str]:
    values = platform.values(np.array([at_seconds]))[:, 0]
    order = sorted(range(len(platform.tracks)), key=lambda n: platform.tracks[n].family.name)
    for family, rows in groupby(order, key=lambda n: platform.tracks[n].family):
        yield f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.type}\n"
        for n in rows:
            if np.isfinite(values[n]):
                # The same digits as in the back-filled history, so that no seam can be seen.
                number = f"{values[n]:.0f}" if platform.tracks[n].counter else f"{values[n]:.6g}"
                yield f"{sample_name(platform.tracks[n])} {number}\n"


class LivePage:
    """`GET /metrics` of the platform, served on the running event loop."""

    def __init__(self, platform: Platform, *, now: Callable[[], float] = time.time) -> None:
        self._platform = platform
        self._now = now
        self._runner: web.AppRunner | None = None

    async def start(self, port: int) -> None:
        """Serve on loopback. Raises: OSError where the port is taken."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()

    async def stop(self) -> None:
        """Stop serving; harmless when it never began."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _metrics(self, _: web.Request) -> web.Response:
        text = render(self._platform, self._now())
        return web.Response(body=text.encode(), headers={"Content-Type": CONTENT_TYPE})
