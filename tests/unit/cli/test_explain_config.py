"""`pronoia explain-config` where Prometheus' clock and this machine's differ."""

from __future__ import annotations

import time
from email.utils import formatdate

from aiohttp import web
from aiohttp.test_utils import TestServer

from sidecar.cli.explain_config import _explain_all
from sidecar.config.load import load_text

BEHIND_SECONDS = 3600.0


async def query(request: web.Request) -> web.Response:
    """One series up to the server's present; of times after it nothing is known."""
    at = float((await request.post())["time"])  # type: ignore[arg-type]
    now = time.time() - BEHIND_SECONDS
    found = [{"metric": {"job": "a"}, "value": [at, "1"]}] if at <= now + 300 else []
    body = {"status": "success", "data": {"resultType": "vector", "result": found}}
    return web.json_response(body, headers={"Date": formatdate(now, usegmt=True)})


async def test_the_present_is_asked_for_by_the_server_s_clock() -> None:
    """By a clock an hour ahead of it every query had no series, and the configuration cost nothing."""
    app = web.Application()
    app.router.add_post("/api/v1/query", query)
    async with TestServer(app) as server:
        text = f"prometheus: {{url: '{server.make_url('')}'}}\nqueries: [{{name: up, expr: up, step: 1m}}]"
        (one,) = await _explain_all(load_text(text))
    assert (one.error, one.n_series) == ("", 1)
