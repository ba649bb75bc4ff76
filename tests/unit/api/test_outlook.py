"""The endpoints of thresholds, risk and trends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sidecar.api.outlook import OutlookEndpoints
from sidecar.errors import PullError, PullReason


class FakeOutlook:
    def thresholds(self, limit: int) -> Sequence[Mapping[str, Any]]:
        return [{"rule": "DiskFull", "seconds": 60.0}][:limit]

    def risks(self, limit: int) -> Mapping[str, Any]:
        return {"silent": "", "risks": [{"service": "cart"}, {"service": "web"}][:limit]}

    async def trends(self, query: str, days: int) -> Sequence[Mapping[str, Any]]:
        if query == "gone":
            raise PullError(PullReason.UNREACHABLE, "no answer")
        return {"plays": [{"days": days}]}[query]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        pytest.param("thresholds", 200, '"rule":"DiskFull"', id="thresholds"),
        pytest.param("risk?limit=1", 200, '"risks":[{"service":"cart"}]', id="risk"),
        pytest.param("trends?query=plays", 200, '"days":28', id="trends"),
        pytest.param("trends?query=plays&days=7", 200, '"days":7', id="a week"),
        pytest.param("trends?query=plays&days=3", 400, "from 7 to 120", id="too few days"),
        pytest.param("trends?query=plays&days=%C2%B2", 400, "from 7 to 120", id="no number"),
        pytest.param("trends?query=other", 404, "no query 'other' is watched", id="unknown query"),
        pytest.param("trends?query=gone", 503, "no answer", id="source gone"),
    ],
)
async def test_answers(path: str, status: int, says: str) -> None:
    app = web.Application()
    OutlookEndpoints(FakeOutlook()).add_routes(app.router)
    async with TestClient(TestServer(app)) as client:
        response = await client.get(f"/api/v1/{path}")
        assert response.status == status
        assert says in await response.text()
