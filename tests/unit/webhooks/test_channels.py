"""Each channel against a server that speaks its protocol and fails in turn."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.channels import NotifyTarget
from sidecar.errors import NotifyError
from tests.integration.channels import MailServer
from tests.unit.webhooks.respond.incidents import Clock, incident
from webhooks.intake.payload import parse
from webhooks.notify.channel import Channel, Outgoing, retry_after
from webhooks.notify.channels.alertmanager import payload_of
from webhooks.notify.channels.email import mail_of
from webhooks.notify.channels.pagerduty import event_of
from webhooks.notify.channels.registry import CHANNELS, channel_of
from webhooks.notify.channels.slack import blocks_of, escape
from webhooks.notify.limiter import Limiter
from webhooks.notify.message import document, report

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MESSAGE = document("opened", incident(), key="t/i1/1")


def target(kind: str, url: str, **more: Any) -> NotifyTarget:
    kinds: dict[str, Any] = {
        "slack": {"token": "x", "channel": "C1", "api_url": url},
        "pagerduty": {"routing_key": "r", "api_url": url},
        "alertmanager": {"url": url},
        "url": url,
    }
    return NotifyTarget.model_validate({"name": kind, kind: kinds[kind], **more})


@asynccontextmanager
async def channel_to(kind: str, answer: Handler, **more: Any) -> AsyncIterator[Channel]:
    """A channel of this kind whose vendor is `answer`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    channel = channel_of(target(kind, f"http://127.0.0.1:{runner.addresses[0][1]}", **more))
    try:
        yield channel
    finally:
        await channel.close()
        await runner.cleanup()


def test_every_channel_is_configurable() -> None:
    assert set(CHANNELS) <= set(NotifyTarget.model_fields)


@pytest.mark.parametrize("kind", ["slack", "pagerduty", "alertmanager", "url"])
@pytest.mark.parametrize(
    ("status", "headers", "retryable", "after"),
    [
        pytest.param(400, {}, False, None, id="refused"),
        pytest.param(401, {}, False, None, id="wrong credentials"),
        pytest.param(429, {"Retry-After": "7"}, True, 7.0, id="too many"),
        pytest.param(500, {}, True, None, id="failing"),
        pytest.param(503, {"Retry-After": "soon"}, True, None, id="away"),
    ],
)
async def test_answers(
    kind: str, status: int, headers: dict[str, str], retryable: bool, after: float | None
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers=headers)

    async with channel_to(kind, answer) as channel:
        with pytest.raises(NotifyError) as caught:
            await channel.send(Outgoing(MESSAGE))
    assert (caught.value.retryable, caught.value.retry_after_seconds) == (retryable, after)


@pytest.mark.parametrize(
    ("word", "retryable"),
    [("invalid_auth", False), ("channel_not_found", False), ("ratelimited", True), ("internal_error", True)],
)
async def test_slack_says_no_with_200(word: str, retryable: bool) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"ok": False, "error": word})

    async with channel_to("slack", answer) as channel:
        with pytest.raises(NotifyError) as caught:
            await channel.send(Outgoing(MESSAGE))
    assert caught.value.retryable is retryable
    assert word in str(caught.value)


async def test_a_slack_message_that_is_gone_is_posted_again() -> None:
    called: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        called.append(request.path)
        if request.path == "/chat.update":
            return web.json_response({"ok": False, "error": "message_not_found"})
        return web.json_response({"ok": True, "channel": "C1", "ts": "2.0"})

    async with channel_to("slack", answer) as channel:
        thread = {"channel": "C1", "ts": "1.0"}
        assert await channel.send(Outgoing(MESSAGE, thread=thread)) == {"channel": "C1", "ts": "2.0"}
    assert called == ["/chat.update", "/chat.postMessage"]


async def test_slack_without_the_right_to_look_is_told_rather_twice_than_never() -> None:
    called: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        called.append(request.path)
        if request.path == "/conversations.history":
            return web.json_response({"ok": False, "error": "missing_scope"})
        return web.json_response({"ok": True, "channel": "C1", "ts": "2.0"})

    async with channel_to("slack", answer) as channel:
        await channel.send(Outgoing(MESSAGE, uncertain=True))
    assert called == ["/conversations.history", "/chat.postMessage"]


async def test_slacks_answer_in_pieces_is_read_whole() -> None:
    messages = [{"ts": str(n), "metadata": {"event_payload": {"key": f"other/{n}"}}} for n in range(50)]
    messages += [{"ts": "50", "metadata": None}, {"ts": "51"}]
    messages += [{"ts": "52", "metadata": {"event_payload": {"key": MESSAGE["idempotency_key"]}}}]

    async def answer(request: web.Request) -> web.StreamResponse:
        assert request.path == "/conversations.history", "it is there already"
        response = web.StreamResponse()
        await response.prepare(request)
        body = json.dumps({"ok": True, "messages": messages}).encode()
        for first in range(0, len(body), 1000):
            await response.write(body[first : first + 1000])
            await asyncio.sleep(0)
        return response

    async with channel_to("slack", answer) as channel:
        receipt = await channel.send(Outgoing(MESSAGE, uncertain=True))
    assert receipt == {"channel": "C1", "ts": "52"}


async def test_a_slack_that_names_no_message_has_it_all_the_same() -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response({"ok": True})

    async with channel_to("slack", answer) as channel:
        assert await channel.send(Outgoing(MESSAGE)) == {}


def test_labels_are_no_markup_in_slack() -> None:
    one = document("opened", incident(title="<!channel> & <http://evil|x>"), key="k")
    text = str(blocks_of({**one, "text": one["title"]}, buttons=False)[1])
    assert "<!channel>" not in text
    assert escape("a<b>&c") == "a&lt;b&gt;&amp;c"


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        ("opened", "trigger"),
        ("updated", "trigger"),
        ("acknowledged", "acknowledge"),
        ("mitigated", "acknowledge"),
        ("resolved", "resolve"),
        ("merged", "resolve"),
    ],
)
def test_pagerduty_events(kind: str, action: str) -> None:
    event = event_of(document(kind, incident(), key="k"), routing_key="r")
    assert (event["event_action"], event["dedup_key"]) == (action, "pronoia/i1")
    assert ("payload" in event) is (action == "trigger")


def test_alertmanagers_webhook_is_what_we_ourselves_would_accept() -> None:
    import msgspec

    payload = payload_of(document("opened", incident(shared_labels={"service": "db"}), key="k"))
    delivery = parse(msgspec.json.encode(payload), received_at_ns=1)
    (alert,) = delivery.alerts
    assert alert.firing
    assert (alert.labels["pronoia_incident"], alert.labels["service"]) == ("i1", "db")
    assert not delivery.dead_letters


def test_mails_of_an_incident_are_one_thread_and_headers_are_whole() -> None:
    evil = incident(title="x\r\nBcc: everybody@example.com")
    mails = [
        mail_of(
            document(kind, evil, key=f"t/i1/{n}"), sender="a@example.com", to=("b@example.com",), made_at=n
        )
        for n, kind in enumerate(("opened", "resolved"))
    ]
    assert mails[0]["References"] == mails[1]["References"]
    assert mails[0]["Message-ID"] != mails[1]["Message-ID"]
    assert mails[0]["Bcc"] is None


@pytest.mark.parametrize(
    ("refusal", "retryable"),
    [
        pytest.param("451 4.3.0 later", True, id="later"),
        pytest.param("550 5.7.1 never", False, id="never"),
        pytest.param("535 5.7.8 who are you", False, id="wrong credentials"),
    ],
)
async def test_a_real_mail_server_refuses(refusal: str, retryable: bool) -> None:
    server = MailServer()
    server.refusals.append(refusal)
    channel = channel_of(NotifyTarget.model_validate(server.target()))
    try:
        with pytest.raises(NotifyError) as caught:
            await channel.send(Outgoing(MESSAGE))
        await channel.send(Outgoing(MESSAGE))
    finally:
        server.kill()
    assert (caught.value.retryable, server.subjects) == (retryable, ["[P2] db: Down"])
    with pytest.raises(NotifyError) as caught:
        await channel.send(Outgoing(MESSAGE))
    assert caught.value.retryable, "a server that is away may come back"


@pytest.mark.parametrize("kind", ["slack", "pagerduty", "alertmanager", "url"])
async def test_who_does_not_answer_is_tried_again(kind: str) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.Response()

    async with channel_to(kind, answer, timeout=0.05) as channel:
        with pytest.raises(NotifyError) as caught:
            await channel.send(Outgoing(MESSAGE))
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", None), ("5", 5.0), ("999999", 3600.0), ("-1", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    assert retry_after(header) == seconds


@given(st.lists(st.floats(0, 30), max_size=200), st.integers(1, 120))
def test_never_more_messages_than_allowed(pauses: list[float], per_minute: int) -> None:
    clock = Clock(0.0)
    limiter = Limiter(per_minute, now=clock)
    sent = []
    for pause in pauses:
        clock.now += pause
        if limiter.wait_seconds() == 0.0:
            sent.append(clock.now)
    for began in sent:
        within = sum(began <= at < began + 60.0 for at in sent)
        assert within <= per_minute + max(per_minute / 6, 1.0) + 1


def test_who_waits_as_told_gets_a_permit() -> None:
    clock = Clock(0.0)
    limiter = Limiter(7, now=clock)
    for _ in range(50):
        wait = limiter.wait_seconds()
        if wait:
            clock.now += wait
            assert limiter.wait_seconds() == 0.0
    limiter.pause(30.0)
    assert limiter.wait_seconds() == 30.0
    clock.now -= 3600.0
    assert limiter.wait_seconds() == pytest.approx(30.0), "though the clock was set back by an hour"


@pytest.mark.parametrize("kind", ["slack", "alertmanager", "url"])
async def test_every_channel_but_a_pager_takes_a_report(kind: str) -> None:
    got: list[bytes] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        got.append(await request.read())
        return web.json_response({"ok": True, "channel": "C1", "ts": "1.0"})

    async with channel_to(kind, answer) as channel:
        await channel.send(Outgoing(report("noise-1", "Noise of shop", "what rang", key="k")))
    assert b"Noise of shop" in got[0]
    mail = mail_of(report("noise-1", "Noise", "x", key="k"), sender="a@b.c", to=("d@e.f",), made_at=0.0)
    assert mail["Subject"] == "Noise"
