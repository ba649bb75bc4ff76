"""The endpoints of responding: what is refused, and that nobody else's page can act."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from sidecar.config.channels import SlackConfig
from sidecar.errors import StoreError
from sidecar.records import Response
from tests.unit.webhooks.respond.incidents import NOW, Clock, incident
from tests.unit.webhooks.respond.test_desk import signature
from webhooks.respond.http import ResponseEndpoints
from webhooks.respond.lifecycle import ActionError
from webhooks.respond.links import Link, sign
from webhooks.respond.slack_actions import SlackActions

SECRET = b"s" * 32


class Desk:
    """Keeps what it is asked; `error` is raised instead."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.error: Exception | None = None

    async def do(self, incident_id: str, action: str, *, actor: str, text: str = "") -> Response:
        if self.error is not None:
            raise self.error
        self.asked.append((incident_id, action, actor, text))
        return Response(incident_id, "default", 1)

    async def say(self, incident_id: str, verdict: str, *, actor: str, of: str = "") -> int:
        if self.error is not None:
            raise self.error
        self.asked.append((incident_id, verdict, actor, *([of] if of else [])))
        return 1


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
async def client(desk: Desk) -> AsyncIterator[TestClient[Any, Any]]:
    config = SlackConfig(token=SecretStr("x"), channel="C1", signing_secret=SecretStr("hush"))

    async def nowhere(_: str) -> None:
        return None

    async def merge(incident_id: str, by: str, text: str) -> dict[str, str]:
        return {"incident_id": text}

    app = web.Application()
    ResponseEndpoints(
        desk,
        specials={"merge": merge},
        view=nowhere,
        on_call=lambda: {"primary": "ann"},
        secret=SECRET,
        slack=SlackActions([config], desk.do, now=Clock()),
        candidates=lambda _: [incident("i2", title="<b>web</b>: Slow")],
        now=Clock(),
    ).add_routes(app.router)
    server = TestServer(app)
    await server.start_server(auto_decompress=False)  # As pronoia serves.
    async with TestClient(server) as made:
        yield made


ACT = "/api/v1/incidents/i1/acknowledge"
JSON = {"Content-Type": "application/json"}
PACKED = {**JSON, "Content-Encoding": "gzip"}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        pytest.param(ACT, b'{"by": "ann"}', JSON, 200, id="done"),
        pytest.param(ACT, b"", JSON, 200, id="by somebody"),
        pytest.param(ACT, b'{"by": "x"}', {"Content-Type": "text/plain"}, 415, id="another page's form"),
        pytest.param(ACT, b'{"bye": "x"}', JSON, 400, id="an unknown field"),
        pytest.param(ACT, b"{", JSON, 400, id="no JSON"),
        pytest.param(ACT, b'{"by": "\xff"}', JSON, 400, id="no text"),
        pytest.param(ACT, b'"' + b"x" * 70_000 + b'"', JSON, 413, id="too long"),
        pytest.param(ACT, gzip.compress(b'{"by": "ann"}'), PACKED, 200, id="packed"),
        pytest.param(ACT, gzip.compress(b" " * 2_000_000), PACKED, 413, id="a bomb"),
        pytest.param(ACT, b'{"by": "ann"}', PACKED, 400, id="not packed as it says"),
        pytest.param("/api/v1/incidents/i1/explode", b"{}", JSON, 404, id="an unknown action"),
        pytest.param("/api/v1/incidents/i1/snooze", b"{}", JSON, 404, id="what other tools can do"),
        pytest.param("/api/v1/incidents/i1/merge", b'{"text": "i2"}', JSON, 200, id="merge"),
        pytest.param("/api/v1/feedback", b'{"incident_id": "i1"}', JSON, 400, id="no verdict"),
        pytest.param(
            "/api/v1/feedback", b'{"incident_id": "i1", "verdict": "noise"}', JSON, 200, id="a verdict"
        ),
    ],
)
async def test_requests(
    client: TestClient[Any, Any], path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert (await client.post(path, data=body, headers=headers)).status == status


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyError("i1"), 404), (ActionError("is resolved;\r\nX: y"), 409)],
)
async def test_refusals(client: TestClient[Any, Any], desk: Desk, error: Exception, status: int) -> None:
    desk.error = error
    assert (await client.post(ACT, data=b"{}", headers=JSON)).status == status


async def test_what_is_not_there_and_who_is_on_call(client: TestClient[Any, Any]) -> None:
    assert (await client.get("/api/v1/incidents/i1/response")).status == 404
    assert (await (await client.get("/api/v1/on-call")).json())["data"] == {"primary": "ann"}


def token(verdict: str = "noise", *, secret: bytes = SECRET, expires_at: int = int(NOW) + 60) -> str:
    return sign(Link("i1", verdict, "chat"), secret=secret, expires_at=expires_at)


async def test_a_link_asks_first(client: TestClient[Any, Any], desk: Desk) -> None:
    page = await client.get(f"/feedback/{token()}")
    assert "<form" in await page.text()
    assert desk.asked == []
    assert (await client.post(f"/feedback/{token()}")).status == 200
    assert desk.asked == [("i1", "noise", "link:chat")]


async def test_a_duplicate_may_say_of_which(client: TestClient[Any, Any], desk: Desk) -> None:
    page = await (await client.get(f"/feedback/{token('duplicate')}")).text()
    assert 'value="i2"' in page
    assert "<b>" not in page
    await client.post(f"/feedback/{token('duplicate')}", data={"of": "i2"})
    await client.post(f"/feedback/{token('duplicate')}")
    assert desk.asked == [("i1", "duplicate", "link:chat", "i2"), ("i1", "duplicate", "link:chat")]


async def test_a_link_says_when_it_could_not_be_kept(client: TestClient[Any, Any], desk: Desk) -> None:
    desk.error = StoreError("locked")
    page = await client.post(f"/feedback/{token()}")
    assert (page.status, page.content_type) == (503, "text/html")
    assert "say it again" in await page.text()


async def test_a_link_says_why_nothing_is_kept(client: TestClient[Any, Any], desk: Desk) -> None:
    desk.error = ActionError("i1 went into incident i2; say it of that one")
    page = await client.post(f"/feedback/{token()}")
    assert (page.status, page.content_type) == (409, "text/html")
    assert "went into incident i2" in await page.text()


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(token(secret=b"t" * 32), id="signed by another"),
        pytest.param(token(expires_at=int(NOW) - 1), id="too old"),
        pytest.param(token("delete_everything"), id="no verdict"),
        pytest.param("x", id="nothing"),
    ],
)
async def test_other_links_say_nothing(client: TestClient[Any, Any], desk: Desk, wrong: str) -> None:
    assert (await client.get(f"/feedback/{wrong}")).status == 403
    assert (await client.post(f"/feedback/{wrong}")).status == 403
    assert desk.asked == []


PRESSED = (
    b"payload=%7B%22user%22%3A%7B%22username%22%3A%22ann%22%7D%2C%22actions%22%3A%5B%7B%22action_id%22%3A"
    b"%22pronoia_acknowledge%22%2C%22value%22%3A%22i1%22%7D%5D%7D"
)


@pytest.mark.parametrize(
    ("body", "error", "status", "asked"),
    [
        pytest.param(PRESSED, None, 200, [("i1", "acknowledge", "slack:ann", "")], id="pressed"),
        pytest.param(PRESSED, KeyError("i1"), 200, [], id="on an old message"),
        pytest.param(PRESSED, StoreError("locked"), 503, [], id="not stored"),
        pytest.param(b"payload=%5B%5D", None, 400, [], id="a list"),
        pytest.param(b"payload=%7B%22user%22%3A1%7D", None, 400, [], id="a strange user"),
        pytest.param(b"nothing", None, 400, [], id="no payload"),
    ],
)
async def test_buttons(
    client: TestClient[Any, Any],
    desk: Desk,
    body: bytes,
    error: Exception | None,
    status: int,
    asked: list[tuple[str, ...]],
) -> None:
    desk.error = error
    headers = {
        "X-Slack-Request-Timestamp": str(int(NOW)),
        "X-Slack-Signature": signature(body=body),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    assert (await client.post("/webhooks/slack/interactions", data=body, headers=headers)).status == status
    assert desk.asked == asked


def press(**fields: Any) -> bytes:
    """A press on the button of i1; `fields`: more of its payload."""
    actions = [{"action_id": "pronoia_acknowledge", "value": "i1"}]
    return (
        b"payload=" + quote(json.dumps({"user": {"username": "ann"}, "actions": actions, **fields})).encode()
    )


HOOK = "https://hooks.slack.com/actions/T1/2/3"


@pytest.mark.parametrize(
    ("outcome", "url", "words"),
    [
        pytest.param(
            ActionError("is resolved; <too> late"), HOOK, "i1 is resolved; &lt;too&gt; late", id="late"
        ),
        pytest.param(KeyError("i1"), HOOK, "i1 is stored no longer", id="gone"),
        pytest.param("i2", HOOK, "i1 went into i2", id="went elsewhere"),
        pytest.param("i1", HOOK, "", id="done: the message says so"),
        pytest.param(KeyError("i1"), "https://hooks.slack.com.evil.example/", "", id="not Slack"),
        pytest.param(KeyError("i1"), 7, "", id="no address"),
    ],
)
async def test_who_presses_a_stale_button_is_told(outcome: Exception | str, url: object, words: str) -> None:
    told: list[tuple[str, dict[str, Any]]] = []

    async def do(*_: str, **__: str) -> Response:
        if isinstance(outcome, Exception):
            raise outcome
        return Response(outcome, "default", 1)

    async def answer(where: str, *, body: bytes, headers: dict[str, str]) -> None:
        told.append((where, json.loads(body)))

    config = SlackConfig(token=SecretStr("x"), channel="C1", signing_secret=SecretStr("hush"))
    slack = SlackActions([config], do, answer=answer, now=Clock())
    app = web.Application()
    app.router.add_post("/", slack.handle)
    body = press(response_url=url)
    headers = {"X-Slack-Request-Timestamp": str(int(NOW)), "X-Slack-Signature": signature(body=body)}
    async with TestClient(TestServer(app)) as client:
        assert (await client.post("/", data=body, headers=headers)).status == 200
        async with asyncio.timeout(5):
            while slack._answering:
                await asyncio.sleep(0)
    assert [(where, said["response_type"]) for where, said in told] == (
        [(HOOK, "ephemeral")] if words else []
    )
    assert all(words in said["text"] for _, said in told)


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    """As a network brings it."""
    for first in range(0, len(body), 40):
        yield body[first : first + 40]
        await asyncio.sleep(0.001)


async def test_bodies_that_come_in_pieces_are_read_whole(client: TestClient[Any, Any], desk: Desk) -> None:
    headers = {"X-Slack-Request-Timestamp": str(int(NOW)), "X-Slack-Signature": signature(body=PRESSED)}
    pressed = await client.post("/webhooks/slack/interactions", data=in_pieces(PRESSED), headers=headers)
    assert pressed.status == 200
    said = b'{"by": "ann", "text": "' + b"x" * 400 + b'"}'
    commented = await client.post(
        "/api/v1/incidents/i1/comment", data=in_pieces(said), headers={"Content-Type": "application/json"}
    )
    assert commented.status == 200
    assert [one[:2] for one in desk.asked] == [("i1", "acknowledge"), ("i1", "comment")]
