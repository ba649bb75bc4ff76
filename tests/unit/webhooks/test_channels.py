"""Each channel against a server that speaks its protocol and fails in turn."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from sidecar.config.channels import KINDS, NotifyTarget
from sidecar.errors import NotifyError
from sidecar.records import Cause
from tests.integration.channels import MailServer
from tests.unit.webhooks.respond.incidents import Clock, incident
from webhooks.intake.payload import parse
from webhooks.notify.channel import Channel, Outgoing, retry_after
from webhooks.notify.channels.alertmanager import payload_of
from webhooks.notify.channels.apprise import Apprise
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


def test_every_channel_is_configurable_and_has_its_row() -> None:
    assert set(CHANNELS) == set(KINDS) <= set(NotifyTarget.model_fields)
    page = (Path(__file__).parents[3] / "docs/response.md").read_text()
    assert [kind for kind in KINDS if f"\n| `{kind}`" not in page] == []


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


@pytest.mark.parametrize(
    ("kind", "config", "shown"),
    [
        pytest.param("opened", {"signing_secret": "s"}, True, id="open"),
        pytest.param("opened", {}, False, id="nobody could press them"),
        pytest.param("resolved", {"signing_secret": "s"}, False, id="over"),
    ],
)
async def test_buttons_are_there_while_they_do_something(
    kind: str, config: dict[str, str], shown: bool
) -> None:
    bodies: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return web.json_response({"ok": True, "channel": "C1", "ts": "2.0"})

    slack = {"token": "x", "channel": "C1", **config}
    async with channel_to("slack", answer) as channel:
        url = channel._config.api_url  # type: ignore[attr-defined]
        own = channel_of(NotifyTarget.model_validate({"name": "s", "slack": {**slack, "api_url": url}}))
        await own.send(Outgoing(document(kind, incident(), key="k")))
        await own.close()
    (block,) = [one["blocks"] for one in bodies[0]["attachments"]]
    assert any(part["type"] == "actions" for part in block) == shown


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
    assert ("payload" in event) is (action == "trigger" or kind == "merged")


def test_a_pager_hears_where_a_merged_incident_went() -> None:
    gone = incident(state="merged", merged_into="i2")
    links = {"incident": "https://p/i1", "Incident i2": "https://p/i2"}
    event = event_of(document("merged", gone, key="k", facts={"links": links}), routing_key="r")
    assert (event["event_action"], event["dedup_key"]) == ("resolve", "pronoia/i1")
    assert event["payload"]["summary"] == "[P2] merged into i2: db: Down"
    assert "follow that one" in event["payload"]["custom_details"]["text"]
    assert event["links"] == [{"href": "https://p/i2", "text": "Incident i2"}]


def test_huge_labels_make_no_event_that_pagerduty_would_refuse() -> None:
    labels = {f"label{i}": "x" * 100_000 for i in range(500)}
    causes = [Cause("f", "y" * 100_000, 1.0, ["z" * 1_000_000])]
    one = document("opened", incident(title="t" * 9999, shared_labels=labels, causes=causes), key="k")
    event = event_of(one, routing_key="r")
    assert len(json.dumps(event)) < 512_000
    assert len(event["payload"]["summary"]) <= 1024


@pytest.mark.parametrize("changed", [{"priority": "P0"}, {"category": "latency"}, {"causes": []}])
def test_an_incident_stays_one_alert_whatever_becomes_of_it(changed: dict[str, Any]) -> None:
    """By its fingerprint whoever reads Alertmanager's payload knows which alert has ended."""
    began = payload_of(document("opened", incident(shared_labels={"service": "db"}), key="k"))
    ended = payload_of(document("resolved", incident(state="resolved", **changed), key="k"))
    assert ended["alerts"][0]["status"] == "resolved"
    assert began["alerts"][0]["fingerprint"] == ended["alerts"][0]["fingerprint"]
    other = payload_of(document("opened", incident("i2"), key="k"))
    assert other["alerts"][0]["fingerprint"] != began["alerts"][0]["fingerprint"]


@pytest.mark.parametrize(
    "hostile", ["http://x|y> <!channel>", "http://x/\n<!here|a>", "https://x/?a=1&b=<@U1>"]
)
def test_an_alerts_link_mentions_nobody_in_slack(hostile: str) -> None:
    one = document("opened", incident(), key="k", facts={"links": {"Runbook": hostile, "a|b>": "http://y"}})
    (context,) = (block for block in blocks_of(one, buttons=False) if block["type"] == "context")
    words = context["elements"][0]["text"]
    assert words.count("<") == words.count(">") == words.count("|") == 2
    assert "<!" not in words
    assert "<@" not in words


def test_slack_is_never_handed_what_it_would_refuse() -> None:
    links = {f"l{i}": f"https://x/{'y' * 100}" for i in range(100)}
    one = document("opened", incident(), key="k", facts={"links": links})
    for text in ("", " \n", "&" * 9000, "x" * 2998 + "<&>"):
        for block in blocks_of({**one, "title": " ", "text": text}, buttons=True):
            shown = [block["text"]] if "text" in block else block["elements"]
            for words in (each["text"] for each in shown if each["type"] != "button"):
                assert len(words.strip()) >= 1
                assert len(words) <= 3000
                assert not re.search(r"&(?!amp;|lt;|gt;)", words)
                assert words.count("<") == words.count(">")


async def test_a_service_of_apprise_that_hangs_takes_no_threads_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The store reads by the same threads as everybody: were all of them hanging, nobody would be told."""
    hanging, let_go = threading.Semaphore(0), threading.Event()

    def hang(*_: object) -> bool:
        hanging.release()
        return let_go.wait(10)

    monkeypatch.setattr(Apprise, "_send_now", hang)
    channel = Apprise("json://localhost", 0.02)
    try:
        for _ in range(20):
            with pytest.raises(NotifyError) as caught:
                await channel.send(Outgoing(MESSAGE))
            assert caught.value.retryable
        async with asyncio.timeout(5):
            assert await asyncio.to_thread(lambda: "read") == "read"
        assert sum(hanging.acquire(blocking=False) for _ in range(20)) <= 4
    finally:
        let_go.set()
        await channel.close()


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    ("url", "unwanted"),
    [
        pytest.param(
            "tgram://123456789:abcdefghijklmnopqrstuvwxyz_ABCDEFGH/1234/", "<i>", id="telegram, HTML"
        ),
        pytest.param("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js/", "@everyone", id="discord"),
        pytest.param("mmost://localhost/3ccdd113474722377935511fc85d3dd4", "@all", id="mattermost"),
    ],
)
def test_labels_are_no_markup_in_services_of_apprise(
    url: str, unwanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    sent: list[str] = []

    def post(*_: object, data: str, **__: object) -> requests.Response:
        sent.append(data if isinstance(data, str) else json.dumps(data))
        answer = requests.Response()
        answer.status_code, answer._content = 200, b'{"ok": true}'
        return answer

    monkeypatch.setattr(requests, "post", post)
    one = {**MESSAGE, "title": "x<i> @everyone", "text": "y<i> @all " + "long " * 2000}
    assert Apprise(url, 5.0)._send_now(one, None)
    assert sent
    assert all(unwanted not in body for body in sent)
    assert all(len(body) < 5000 for body in sent), "cut to what the service takes"


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
    [("", None), ("5", 5.0), ("999999", 3600.0), ("-1", None), ("Thu, 01 Jan 1970 00:00:00 GMT", None)]
    + [
        (odd, None)
        for odd in ("0", "Fri, 31 Dec 99999 23:59:59 GMT", "1.5", "soon", "Mon, 1 Jan 0 0:0:0 GMT")
    ],
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


@pytest.mark.parametrize(("kind", "secret"), [("slack", "token"), ("pagerduty", "routing_key")])
@pytest.mark.parametrize("content", [None, "", "\n", "\xff"])
async def test_a_secret_that_is_being_replaced_costs_no_message(
    tmp_path: Path, kind: str, secret: str, content: str | None
) -> None:
    """Sent with an empty one it would be refused for good, and given up."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    settings = {f"{secret}_file": file, **({"channel": "C1"} if kind == "slack" else {})}
    channel = channel_of(NotifyTarget.model_validate({"name": "t", kind: settings}))
    with pytest.raises(NotifyError) as caught:
        await channel.send(Outgoing(MESSAGE))
    assert caught.value.retryable
