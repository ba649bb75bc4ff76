"""The endpoints of families of series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sidecar.api.families import FamilyEndpoints
from sidecar.errors import PullError, PullReason


class FakeBehaviour:
    def summaries(self) -> Sequence[Mapping[str, Any]]:
        return [{"query": "load", "stability": 1.0}]

    async def families(self, name: str) -> Mapping[str, Any]:
        if name == "gone":
            raise PullError(PullReason.UNREACHABLE, "no answer")
        return {"load": {"families": []}}[name]


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        pytest.param("families", 200, '"stability":1.0', id="all"),
        pytest.param("families/load", 200, '"families":[]', id="one"),
        pytest.param("families/other", 404, "no query 'other' is watched", id="unknown query"),
        pytest.param("families/gone", 503, "no answer", id="source gone"),
    ],
)
async def test_answers(path: str, status: int, says: str) -> None:
    app = web.Application()
    FamilyEndpoints(FakeBehaviour).add_routes(app.router)
    async with TestClient(TestServer(app)) as client:
        response = await client.get(f"/api/v1/{path}")
        assert response.status == status
        assert says in await response.text()
