"""The look at Alertmanagers goes on, whatever one of them answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from sidecar.config.model import AlertmanagerConfig
from sidecar.loop import alertmanagers
from sidecar.loop.alertmanagers import Alertmanagers, ReachMetrics
from sidecar.prometheus.session import PullMetrics

GOOD = b'{"versionInfo": {"version": "0.25.0"}}'


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(b'{"a": "\xff"}', id="no UTF-8"),
        pytest.param(b'{"a":' * 100_000, id="nested without end"),
        pytest.param(b'{"versionInfo": "1"}', id="no version in it"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"<html>", id="a web page"),
    ],
)
async def test_an_odd_answer_is_told_of_and_the_next_one_heard(
    odd: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alertmanagers, "LOOK_SECONDS", 0.0)
    answers: Iterator[bytes] = iter((odd, GOOD))
    heard = asyncio.Event()
    states: list[float | None] = []

    async def handler(_: web.Request) -> web.StreamResponse:
        states.append(registry.get_sample_value("pronoia_alertmanager_up", {"alertmanager": url}))
        if len(states) > 2:
            heard.set()
        return web.Response(body=next(answers, GOOD))

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    registry = CollectorRegistry()
    looking = Alertmanagers(
        [AlertmanagerConfig(url=url)], pull_metrics=PullMetrics(registry), metrics=ReachMetrics(registry)
    )
    looking.start()
    await asyncio.wait_for(heard.wait(), 20)
    await looking.stop()
    await runner.cleanup()
    assert states[:3] == [None, 0.0, 1.0]
    assert looking.versions == {url: "0.25.0"}
