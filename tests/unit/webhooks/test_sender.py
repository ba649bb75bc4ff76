"""Each channel against a server that speaks its protocol and fails in turn; retries, limits, fallback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from sidecar.config.channels import NotifyConfig, NotifyTarget
from sidecar.config.model import StoreConfig
from sidecar.errors import NotifyError
from sidecar.store.sqlite import SqliteStore
from tests.integration.channels import MailServer
from tests.unit.webhooks.respond.incidents import Clock, incident
from webhooks.notify.channel import Channel, Outgoing, retry_after
from webhooks.notify.channels.alertmanager import payload_of
from webhooks.notify.channels.email import mail_of
from webhooks.notify.channels.pagerduty import event_of
from webhooks.notify.channels.registry import CHANNELS, channel_of
from webhooks.notify.channels.slack import blocks_of, escape
from webhooks.notify.limiter import Limiter
from webhooks.notify.message import document, report
from webhooks.notify.notifier import Notifier
from webhooks.notify.outbox import NotifyMetrics
from webhooks.payload import parse

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


class Recorder:
    """A target that fails for so long, with that error."""

    def __init__(self, error: NotifyError | None = None) -> None:
        self.error = error
        self.got: list[str] = []
        self.uncertain: list[bool] = []

    async def send(self, outgoing: Outgoing) -> dict[str, str]:
        self.uncertain.append(outgoing.uncertain)
        if self.error is not None:
            raise self.error
        self.got.append(f"{outgoing.document['kind']} {outgoing.document['incident']['incident_id']}")
        return {}

    async def close(self) -> None:
        pass


class Bench:
    """A notifier with recording targets, on a clock set by hand."""

    def __init__(self, directory: Path, targets: dict[str, Recorder], **config: Any) -> None:
        self.clock = Clock()
        self.targets = targets
        self.directory = directory
        fallbacks = config.pop("fallbacks", {})
        self.config = NotifyConfig(
            targets=tuple(
                NotifyTarget(
                    name=name,
                    url=SecretStr("http://x"),
                    fallback=fallbacks.get(name),
                    messages_per_minute=config.get("per_minute", 600),
                )
                for name in targets
            ),
            update_interval=0.0,
        )

    async def __aenter__(self) -> Bench:
        registry = CollectorRegistry()
        self.store = await SqliteStore.open(StoreConfig(directory=self.directory), registry=registry)
        self.notifier = Notifier(
            self.store,
            self.config,
            hold_seconds=0.0,
            metrics=NotifyMetrics(registry),
            make_channel=lambda target: self.targets[target.name],
            now=self.clock,
        )
        await self.notifier.open([])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.notifier.stop()
        await self.store.close()

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not done():
                await asyncio.sleep(0.005)

    async def states(self) -> dict[str, str]:
        return {one.key: one.state for one in await self.store.messages_of_recent_incidents(0)}

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.notifier._sender.wake(self.targets)
        self.notifier._wake.set()


REFUSED = NotifyError("wrong credentials", retryable=False)
AWAY = NotifyError("timeout", retryable=True)


class OnlyFirst:
    """The audience in which `b` is told of nothing by itself."""

    def listeners(self, *_: object, **__: object) -> list[str]:
        return ["a"]

    def held_back(self, *_: object, **__: object) -> str:
        return ""

    def status(self, _: object) -> str:
        return "open"

    async def prepare(self, _: object) -> None:
        pass

    def facts(self, *_: object, **__: object) -> dict[str, object]:
        return {}


async def test_refused_credentials_fall_back_at_once_and_only_the_end_is_told_there(tmp_path: Path) -> None:
    first, second = Recorder(REFUSED), Recorder()
    bench = Bench(tmp_path, {"a": first, "b": second}, fallbacks={"a": "b"})
    async with bench:
        bench.notifier.audience = OnlyFirst()
        bench.notifier.consider([incident()])
        await bench.until(lambda: second.got == ["opened i1"])
        first.error = None
        bench.pass_time(10)
        bench.notifier.consider([incident(n_episodes=99, priority="P1")])
        await bench.until(lambda: second.got == ["opened i1", "updated i1"])
        bench.notifier.consider([incident(state="resolved")])
        await bench.until(lambda: second.got[-1] == "resolved i1" and bool(first.got))
        assert first.got == ["resolved i1"], "a try may have arrived; so its end is told there, and no page"


async def test_a_slow_death_falls_back_when_its_time_has_come(tmp_path: Path) -> None:
    first, second = Recorder(AWAY), Recorder()
    bench = Bench(tmp_path, {"a": first, "b": second}, fallbacks={"a": "b"})
    async with bench:
        bench.notifier.audience = OnlyFirst()
        bench.notifier.consider([incident()])
        for n, seconds in enumerate((5, 10, 20, 40, 60), start=1):
            await bench.until(lambda n=n: len(first.uncertain) >= n)  # type: ignore[misc]
            assert second.got == []
            bench.pass_time(seconds)
        await bench.until(lambda: second.got == ["opened i1"])
        assert first.uncertain == [False, *[True] * (len(first.uncertain) - 1)]


async def test_a_fallback_that_knows_already_is_not_told_twice(tmp_path: Path) -> None:
    first, second = Recorder(REFUSED), Recorder()
    bench = Bench(tmp_path, {"a": first, "b": second}, fallbacks={"a": "b"})
    async with bench:
        bench.notifier.consider([incident()])
        await bench.until(lambda: bool(first.uncertain) and second.got == ["opened i1"])
        bench.pass_time(1)
        async with asyncio.timeout(10):
            while await bench.states() != {"a/i1/1": "dead", "b/i1/1": "sent"}:
                await asyncio.sleep(0.005)
        assert second.got == ["opened i1"]


async def test_old_news_is_left_out_when_it_can_be_told_at_last(tmp_path: Path) -> None:
    slow = Recorder(AWAY)
    async with Bench(tmp_path, {"a": slow}) as bench:
        bench.notifier.consider([incident()])
        await bench.until(lambda: len(slow.uncertain) == 1)
        for n in (10, 30, 90):
            bench.clock.now += 1
            bench.notifier.consider([incident(n_episodes=n)])
            await asyncio.sleep(0.02)
        slow.error = None
        bench.pass_time(10)
        await bench.until(lambda: len(slow.got) == 2)
        assert slow.got == ["opened i1", "updated i1"]
        async with asyncio.timeout(10):
            while "pending" in (states := sorted((await bench.states()).values())):
                await asyncio.sleep(0.005)
        assert states == ["sent", "sent", "superseded", "superseded"]


async def test_a_burst_is_limited_and_the_urgent_go_first(tmp_path: Path) -> None:
    target = Recorder()
    async with Bench(tmp_path, {"a": target}, per_minute=6) as bench:
        # The first permit is spent, so that what follows has to wait together.
        bench.notifier.consider([incident("i0")])
        await bench.until(lambda: target.got == ["opened i0"])
        bench.notifier.consider([incident("i1"), incident("i2"), incident("i3", priority="P0")])
        await asyncio.sleep(0.1)
        assert target.got == ["opened i0"]
        bench.pass_time(10)
        await bench.until(lambda: len(target.got) == 2)
        assert target.got[1] == "opened i3"


async def test_an_incident_is_told_of_as_soon_as_it_has_settled(tmp_path: Path) -> None:
    target = Recorder()
    async with Bench(tmp_path, {"a": target}) as bench:
        bench.notifier._hold_ns = 3 * 10**9
        bench.notifier.consider([incident()])
        assert bench.notifier._patience() == pytest.approx(3.0)
        bench.notifier.consider([incident("p0", priority="P0")])
        await bench.until(lambda: target.got == ["opened p0"])
        assert bench.notifier._patience() == pytest.approx(3.0)
        bench.pass_time(3.0)
        await bench.until(lambda: target.got == ["opened p0", "opened i1"])


async def test_a_report_goes_by_the_outbox_and_is_no_incident(tmp_path: Path) -> None:
    target = Recorder()
    async with Bench(tmp_path, {"a": target}) as bench:
        await bench.notifier.send_report("a", "noise-1", title="Noise", text="| a |")
        await bench.until(lambda: target.got == ["report noise-1"])
    async with Bench(tmp_path, {"a": target}) as bench:
        bench.pass_time(1e6)
        assert await bench.states() == {"a/noise-1/1": "sent"}
    assert target.got == ["report noise-1"]


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


async def test_a_target_that_is_gone_from_the_configuration_holds_nothing(tmp_path: Path) -> None:
    async with Bench(tmp_path, {"a": Recorder(AWAY)}) as bench:
        bench.notifier.consider([incident()])
        await bench.until(lambda: bool(bench.targets["a"].uncertain))
    async with Bench(tmp_path, {"b": Recorder()}) as bench:
        assert (await bench.states())["a/i1/1"] == "dead"
