"""Verdicts on series over HTTP: what is wrong is refused with its reason, before anything is kept."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from sidecar.api.series_feedback import SeriesFeedback

GOOD = '{"query": "load", "fingerprint": "f1", "verdict": "noise", "by": "ann"}'
JSON = {"Content-Type": "application/json"}
PACKED = {**JSON, "Content-Encoding": "gzip"}


class Listener:
    def __init__(self) -> None:
        self.kept: list[tuple[str, str, str, str]] = []

    async def say(self, query: str, fingerprint: str, verdict: str, actor: str) -> Mapping[str, Any]:
        if fingerprint == "gone":
            raise KeyError(fingerprint)
        self.kept.append((query, fingerprint, verdict, actor))
        return {"id": len(self.kept)}

    async def said(self) -> Sequence[Mapping[str, Any]]:
        return [{"id": number} for number, _ in enumerate(self.kept, 1)]

    async def take_back(self, verdict_id: int) -> bool:
        return verdict_id <= len(self.kept)


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
async def client(listener: Listener) -> AsyncIterator[TestClient[Any, Any]]:
    app = web.Application()
    SeriesFeedback(listener).add_routes(app.router)
    server = TestServer(app)
    await server.start_server(auto_decompress=False)  # As pronoia serves.
    async with TestClient(server) as made:
        yield made


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(GOOD, JSON, 200, id="kept"),
        pytest.param(GOOD, {"Content-Type": "text/plain"}, 415, id="a foreign page's form"),
        pytest.param(GOOD.replace("f1", "gone"), JSON, 404, id="no such series"),
        pytest.param(GOOD.replace("noise", "duplicate"), JSON, 400, id="not of series"),
        pytest.param(GOOD.replace('"by"', '"bye"'), JSON, 400, id="an unknown key"),
        pytest.param("{", JSON, 400, id="no JSON"),
        pytest.param(gzip.compress(GOOD.encode()), PACKED, 200, id="packed"),
        pytest.param(gzip.compress(b" " * 1_000_000), PACKED, 413, id="a bomb"),
        pytest.param(" " * 20_000 + GOOD, JSON, 413, id="too long"),
    ],
)
async def test_a_verdict_is_kept_or_refused(
    client: TestClient[Any, Any], listener: Listener, body: str | bytes, headers: dict[str, str], status: int
) -> None:
    answer = await client.post("/api/v1/series-feedback", data=body, headers=headers)
    assert answer.status == status
    assert len(listener.kept) == (status == 200)


async def test_a_verdict_is_listed_and_taken_back(client: TestClient[Any, Any]) -> None:
    await client.post("/api/v1/series-feedback", data=GOOD, headers=JSON)
    listed = await (await client.get("/api/v1/series-feedback")).json()
    assert listed["data"] == [{"id": 1}]
    undo = [
        (await client.post(f"/api/v1/series-feedback/{what}/undo", data="{}", headers=JSON)).status
        for what in ("1", "2", "x", "9" * 30)
    ]
    assert undo == [200, 404, 400, 400]
    assert (await client.post("/api/v1/series-feedback/1/undo")).status == 415
