"""The HTTP server: lifecycle, JSON envelope, page, stream."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from msgspec.structs import replace
from structlog.testing import capture_logs

from sidecar.api import stream as stream_module
from sidecar.api.explain import Explanations
from sidecar.api.families import FamilyEndpoints
from sidecar.api.outlook import OutlookEndpoints
from sidecar.api.request_log import request_logger
from sidecar.api.series_feedback import SeriesFeedback
from sidecar.api.server import build_app
from sidecar.api.views import ComponentHealth
from sidecar.bodies import read_up_to
from sidecar.errors import ConfigError, ConfigProblem, StoreError
from sidecar.events import Event, EventBus
from sidecar.records import Episode, Incident, Response, RuleRevision
from webhooks.correlate.why import Why, why
from webhooks.incident import merged
from webhooks.judge.evidence_feed import ChangesEndpoint
from webhooks.respond.http import ResponseEndpoints
from webhooks.respond.slack_actions import SlackActions

INCIDENT = Incident("i1", "default", "<b>CDN</b>", 1, 2)
BONDS = {"all": 0.5, "mention": 0.5}
EPISODE = Episode("default", "f1", 1, None, {"alertname": "Down"}, {}, "", 1, 1, bonds=BONDS)


class FakeViews:
    """Views with a few fixed answers; `broken` makes the store fail."""

    def __init__(self) -> None:
        self.is_ready = False
        self.broken = False
        self.asked: list[Any] = []
        self.response = Response("i1", "default", 1)

    def status(self) -> Mapping[str, Any]:
        return {"version": "1", "config_hash": "abc"}

    def queries(self) -> Sequence[Mapping[str, Any]]:
        return [{"name": "q"}]

    def series(self, query: str | None, limit: int) -> Sequence[Mapping[str, Any]]:
        self.asked.append((query, limit))
        if query == "unknown":
            raise KeyError(query)
        return [{"query": "q", "score": 2.0, "expected": None}]

    async def incidents(
        self, state: str | None, limit: int, *, urgent_first: bool = False
    ) -> Sequence[Incident]:
        self.asked.append((state, limit, "urgent first") if urgent_first else (state, limit))
        if self.broken:
            raise StoreError("the database is locked")
        return [INCIDENT]

    async def responses(self) -> Mapping[str, Response]:
        return {"i1": self.response}

    async def incident(self, incident_id: str) -> tuple[Incident, list[Episode]] | None:
        if incident_id == "gone":
            return merged(replace(INCIDENT, incident_id="gone"), "i1", now_ns=1), []
        return (INCIDENT, [EPISODE]) if incident_id == "i1" else None

    async def rules(self, limit: int) -> Sequence[RuleRevision]:
        return []

    def ready(self) -> tuple[bool, str]:
        return self.is_ready, "no query was scored yet"

    def health(self) -> Mapping[str, Callable[[], ComponentHealth]]:
        return {
            "store": lambda: ComponentHealth(not self.broken, {"rows": 3}),
            "source": lambda: ComponentHealth(True),
        }


class Process:
    def __init__(self) -> None:
        self.views, self.bus = FakeViews(), EventBus()
        self.problems: list[ConfigProblem] = []
        self.reloads = 0
        self.waits_for = ""
        self.stopped = asyncio.Event()

    async def reload(self) -> str:
        if self.problems:
            raise ConfigError(self.problems, "pronoia.yaml")
        self.reloads += 1
        return self.waits_for


@pytest.fixture
async def process() -> Process:
    return Process()


@pytest.fixture
async def client(process: Process) -> AsyncIterator[TestClient[Any, Any]]:
    app = build_app(
        views=process.views, bus=process.bus, reload=process.reload,
        quit_process=process.stopped.set, max_body_bytes=1024,
    )  # fmt: skip
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_healthy_before_ready(client: TestClient[Any, Any], process: Process) -> None:
    assert (await client.get("/-/healthy")).status == 200
    answer = await client.get("/-/ready")
    assert answer.status == 503
    assert "no query was scored yet" in await answer.text()
    process.views.is_ready = True
    assert (await client.get("/-/ready")).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_reload(client: TestClient[Any, Any], process: Process, method: str) -> None:
    assert (await client.request(method, "/-/reload")).status == 200
    process.waits_for = "what is compiled"
    answer = await client.request(method, "/-/reload")
    assert answer.status == 202
    assert "waits for what is compiled" in await answer.text()
    process.problems = [ConfigProblem("queries[0].step", "too short"), ConfigProblem("log.levle", "unknown")]
    answer = await client.request(method, "/-/reload")
    words = await answer.text()
    assert answer.status == 500
    assert "queries[0].step: too short" in words
    assert "log.levle: unknown" in words
    assert process.reloads == 2


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_quit_answers_and_then_stops(
    client: TestClient[Any, Any], process: Process, method: str
) -> None:
    assert (await client.request(method, "/-/quit")).status == 200
    await asyncio.wait_for(process.stopped.wait(), 5)


@pytest.mark.parametrize("path", ["/-/reload", "/-/quit"])
async def test_a_link_cannot_change_anything(
    client: TestClient[Any, Any], process: Process, path: str
) -> None:
    assert (await client.get(path)).status == 405
    assert process.reloads == 0


async def test_who_asks_wrongly_is_told_what_would_be_right(client: TestClient[Any, Any]) -> None:
    answer = await client.delete("/api/v1/incidents")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")
    assert (await answer.json())["error"] == "DELETE is not answered here; use GET or HEAD"
    words = (await (await client.get("/api/v1/incident")).json())["error"]
    assert words == "there is no /api/v1/incident; see /api/v1/openapi.json"


async def test_health_names_every_component(client: TestClient[Any, Any], process: Process) -> None:
    answer = await client.get("/health")
    assert answer.status == 200
    assert (await answer.json())["data"] == {"store": {"ok": True, "rows": 3}, "source": {"ok": True}}
    process.views.broken = True
    assert (await client.get("/health")).status == 503
    assert (await client.get("/health/store")).status == 503
    assert (await client.get("/health/source")).status == 200
    unknown = await client.get("/health/nothing")
    assert unknown.status == 404
    assert "store, source" in (await unknown.json())["error"]


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        pytest.param("/api/v1/status", 200, None, id="status"),
        pytest.param("/api/v1/queries", 200, None, id="queries"),
        pytest.param("/api/v1/series?query=q&limit=5", 200, None, id="series"),
        pytest.param("/api/v1/series?query=unknown", 404, "not_found", id="unknown query"),
        pytest.param("/api/v1/series?limit=0", 400, "bad_data", id="limit zero"),
        pytest.param("/api/v1/series?limit=10001", 400, "bad_data", id="limit too big"),
        pytest.param("/api/v1/series?limit=²", 400, "bad_data", id="limit in superscript"),
        pytest.param("/api/v1/series?limit=" + "9" * 5000, 400, "bad_data", id="limit of 5000 digits"),
        pytest.param("/api/v1/incidents?state=open", 200, None, id="incidents"),
        pytest.param("/api/v1/incidents?state=ajar", 400, "bad_data", id="unknown state"),
        pytest.param("/api/v1/incidents/i1", 200, None, id="incident"),
        pytest.param("/api/v1/incidents/i2", 404, "not_found", id="unknown incident"),
        pytest.param("/api/v1/incidents/i1/why", 200, None, id="why"),
        pytest.param("/api/v1/incidents/i2/why", 404, "not_found", id="why of an unknown incident"),
        pytest.param("/api/v1/incidents/i1/why?alert=Up", 404, "not_found", id="why of an unknown alert"),
        pytest.param("/api/v1/rules", 200, None, id="rules"),
        pytest.param("/api/v1/nothing", 404, "not_found", id="unknown path"),
    ],
)
async def test_envelope(client: TestClient[Any, Any], path: str, status: int, kind: str | None) -> None:
    answer = await client.get(path)
    body = await answer.json()
    assert answer.status == status
    if kind is None:
        assert body.keys() == {"status", "data"}
        assert body["status"] == "success"
    else:
        assert body["status"] == "error"
        assert body["errorType"] == kind
        assert body["error"]


async def test_parameters_reach_the_views(client: TestClient[Any, Any], process: Process) -> None:
    await client.get("/api/v1/series?query=q&limit=5")
    await client.get("/api/v1/incidents?state=open")
    assert process.views.asked == [("q", 5), ("open", 100)]


async def test_the_most_urgent_incidents_may_be_asked_for_first(
    client: TestClient[Any, Any], process: Process
) -> None:
    await client.get("/api/v1/incidents?sort=priority&limit=4")
    assert process.views.asked == [(None, 4, "urgent first")]
    assert (await client.get("/api/v1/incidents?sort=age")).status == 400


async def test_an_incident_comes_with_its_episodes(client: TestClient[Any, Any]) -> None:
    data = (await (await client.get("/api/v1/incidents/i1")).json())["data"]
    assert data["incident_id"] == "i1"
    assert [one["fingerprint"] for one in data["episodes"]] == ["f1"]


async def test_an_incident_says_who_has_it(client: TestClient[Any, Any], process: Process) -> None:
    async def told() -> list[tuple[str, str]]:
        one = (await (await client.get("/api/v1/incidents/i1")).json())["data"]
        (listed,) = (await (await client.get("/api/v1/incidents")).json())["data"]
        return [(found["status"], found["taken_by"]) for found in (one, listed)]

    assert await told() == [("open", "")] * 2
    process.views.response = Response(
        "i1", "default", 2, assignee="ann", acknowledged_by="bob", acknowledged_at_ns=2
    )
    assert await told() == [("acknowledged", "ann")] * 2
    process.views.response = Response("i1", "default", 3, assignee="ann", acknowledged_by="bob")
    assert await told() == [("open", "")] * 2, "given back"


async def test_why_of_what_went_into_another_incident_says_where(client: TestClient[Any, Any]) -> None:
    for asked in ("", "?alert=Down"):
        answer = await client.get("/api/v1/incidents/gone/why" + asked)
        assert answer.status == 404
        assert "gone went into i1" in (await answer.json())["error"]


@pytest.mark.parametrize("asked", ["", "?alert=Down", "?alert=f1"], ids=["all", "by name", "by fingerprint"])
async def test_why_an_alert_is_in_its_incident(client: TestClient[Any, Any], asked: str) -> None:
    (told,) = (await (await client.get("/api/v1/incidents/i1/why" + asked)).json())["data"]
    assert (told["fingerprint"], told["alertname"], told["strength"]) == ("f1", "Down", 0.5)
    assert told["words"][1] == "  0.50  mention: one's text names the other"
    assert told["keeps_out"] == [[["mention"], 0.0]]


async def test_why_of_a_storm_is_worked_out_for_no_more_than_is_asked_for_and_beside_the_event_loop(
    client: TestClient[Any, Any], process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a hundred thousand alerts nothing else was answered for twenty seconds, to show a hundred."""
    threads: list[int] = []

    def seen(episode: Episode) -> Why:
        threads.append(threading.get_ident())
        return why(episode)

    async def incident(_: str) -> tuple[Incident, list[Episode]]:
        return INCIDENT, [EPISODE] * 1000

    monkeypatch.setattr("webhooks.correlate.why.why", seen)
    monkeypatch.setattr(process.views, "incident", incident)
    answer = await client.get("/api/v1/incidents/i1/why?alert=Down&limit=7")
    assert (len((await answer.json())["data"]), len(threads)) == (7, 7)
    assert threading.get_ident() not in threads


async def test_a_store_in_trouble_is_unavailable(client: TestClient[Any, Any], process: Process) -> None:
    process.views.broken = True
    answer = await client.get("/api/v1/incidents")
    assert answer.status == 503
    assert (await answer.json())["error"] == "the database is locked"


async def test_a_defect_is_told_as_every_error_is(
    client: TestClient[Any, Any], process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process.views, "queries", lambda: 1 / 0)
    answer = await client.get("/api/v1/queries")
    assert answer.status == 500
    assert (await answer.json())["errorType"] == "internal"
    assert (await client.get("/-/healthy")).status == 200


@pytest.mark.parametrize("path", ["/api/v1/read", "/webhooks/read"])
async def test_who_hangs_up_amid_a_body_leaves_no_trace(
    process: Process, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def read(request: web.Request) -> web.Response:
        begun.set()
        try:
            return web.Response(body=await read_up_to(request.content, 100))
        finally:
            ended.set()

    app = build_app(
        views=process.views, bus=process.bus, reload=process.reload,
        quit_process=process.stopped.set, max_body_bytes=1024,
    )  # fmt: skip
    app.router.add_post(path, read)
    runner = web.AppRunner(app, logger=request_logger(), handler_cancellation=False)  # As the process has it.
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with asyncio.timeout(10):
        _, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf".encode())
        with capture_logs() as logs:
            await begun.wait()
            writer.close()
            await ended.wait()
    await runner.cleanup()
    assert (logs, caplog.records) == ([], [])


async def test_the_description_lists_every_route_and_no_other(client: TestClient[Any, Any]) -> None:
    document = await (await client.get("/api/v1/openapi.json")).json()
    assert isinstance(client.server, TestServer)
    nothing: Any = None
    responding = web.Application()
    ResponseEndpoints(
        nothing, specials={}, view=nothing, on_call=nothing, secret=b"", slack=SlackActions([], nothing)
    ).add_routes(responding.router)
    ChangesEndpoint(nothing, nothing, nothing).add_routes(responding.router)
    Explanations(nothing).add_routes(responding.router)
    FamilyEndpoints(nothing).add_routes(responding.router)
    OutlookEndpoints(nothing).add_routes(responding.router)
    SeriesFeedback(nothing).add_routes(responding.router)
    both = (*client.server.app.router.routes(), *responding.router.routes())
    routes = {route.resource.canonical for route in both if route.resource}
    assert set(document["paths"]) == {path for path in routes if path.startswith("/api/")}


async def test_the_page_stands_alone_and_runs_only_its_own_script(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/")
    page, policy = await answer.text(), answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page), "nothing comes from elsewhere"
    assert not re.search(r"innerHTML|insertAdjacent|outerHTML|document\.write| on[a-z]+=| style=", page)


async def test_every_answer_is_guarded(client: TestClient[Any, Any]) -> None:
    for path in ("/api/v1/status", "/-/healthy", "/nothing"):
        answer = await client.get(path)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def _message(answer: aiohttp.ClientResponse) -> bytes:
    return await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 5)


async def test_events_are_streamed(
    client: TestClient[Any, Any], process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "KEEPALIVE_SECONDS", 0.05)
    async with client.get("/api/v1/stream") as answer:
        assert answer.content_type == "text/event-stream"
        assert await _message(answer) == b": still here\n\n"
        process.bus.publish(Event("rules.published", 12.5, {"group": "two\nlines"}))
        found = await _message(answer)
        while found.startswith(b":"):
            found = await _message(answer)
        assert found.count(b"\n") == 2, "a line break in a fact must not end the message"
        document = json.loads(found.removeprefix(b"data: "))
        assert document == {"kind": "rules.published", "at_seconds": 12.5, "facts": {"group": "two\nlines"}}


async def test_readers_are_bounded_and_let_go(
    client: TestClient[Any, Any], process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "MAX_READERS", 1)
    async with client.get("/api/v1/stream") as first:
        assert first.status == 200
        assert (await client.get("/api/v1/stream")).status == 503
    await _until(lambda: not process.bus._subscriptions)
    async with client.get("/api/v1/stream") as again:
        assert again.status == 200


async def test_an_open_stream_does_not_hold_up_the_stop(
    client: TestClient[Any, Any], process: Process
) -> None:
    answer = await client.get("/api/v1/stream")
    stop: Awaitable[None] = client.server.close()
    await asyncio.wait_for(stop, 3)
    answer.close()
    assert not process.bus._subscriptions
