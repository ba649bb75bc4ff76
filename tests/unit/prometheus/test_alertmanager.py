"""Alertmanager's lists: whole, of any size, and never decoded in one go where they are large."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from sidecar.config.model import AlertmanagerConfig
from sidecar.errors import PullError
from sidecar.prometheus import alertmanager
from sidecar.prometheus.alertmanager import AlertmanagerClient
from sidecar.prometheus.session import PullMetrics
from tests.unit.prometheus.served import client

ALERTS = [{"labels": {"alertname": "Down", "pod": f"p{n}"}, "fingerprint": f"f{n}"} for n in range(20)]


async def listed(body: bytes) -> list[dict[str, Any]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body)

    async with client(answer) as (prometheus, _):
        config = AlertmanagerConfig(url=prometheus._config.url)
        async with AlertmanagerClient(config, metrics=PullMetrics(CollectorRegistry())) as one:
            return await one.alerts()


@pytest.mark.parametrize("large", [True, False])
async def test_a_large_list_is_decoded_in_a_thread(monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    here: set[bool] = set()

    def noted(raw: bytes) -> Any:
        here.add(threading.current_thread() is threading.main_thread())
        return json.loads(bytes(raw))

    monkeypatch.setattr(alertmanager, "_entry", noted)
    monkeypatch.setattr(alertmanager, "LARGE_BYTES", 100 if large else 100_000)
    assert await listed(json.dumps(ALERTS).encode()) == ALERTS
    assert here == {not large}


@pytest.mark.parametrize("body", [b"{}", b"[1]", b'["\xff"]', b"[{}", b"[" * 100_000], ids=range(5))
async def test_what_is_no_list_of_alerts_is_told(body: bytes) -> None:
    with pytest.raises(PullError, match="/api/v2/alerts"):
        await listed(body)
