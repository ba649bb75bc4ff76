"""One message an incident: when it is told of, what the answers of a target mean, what a restart keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from sidecar.config.channels import NotifyConfig, NotifyTarget
from sidecar.config.model import StoreConfig
from sidecar.errors import NotifyError
from sidecar.records import Cause, Incident
from sidecar.store.sqlite import SqliteStore
from webhooks.notify import notifier as notifying
from webhooks.notify.audience import Everybody
from webhooks.notify.channel import Outgoing
from webhooks.notify.channels.apprise import Apprise
from webhooks.notify.channels.registry import channel_of
from webhooks.notify.channels.webhook import Webhook
from webhooks.notify.message import document, text
from webhooks.notify.notifier import Notifier
from webhooks.notify.outbox import NotifyMetrics
from webhooks.notify.policy import Told, decide

# apprise imports a module of the standard library that is on its way out.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

MINUTE = 60 * 10**9
NOW = 100 * MINUTE


def incident(state: str = "open", priority: str = "P2", n: int = 3, name: str = "i1") -> Incident:
    cause = Cause("f", "db", 1.0, ["alerted first"])
    return Incident(
        name, "default", "db: Down", NOW, NOW, state=state, causes=[cause], n_episodes=n, priority=priority
    )


def told(
    kind: str = "opened",
    *,
    ago: int = 20 * MINUTE,
    priority: str = "P2",
    n: int = 3,
    status: str = "open",
) -> Told:
    return Told(kind, NOW - ago, priority, n, 1, status)


@pytest.mark.parametrize(
    ("now_is", "before", "settled_at", "expected"),
    [
        pytest.param(incident(), None, NOW, "opened", id="settled"),
        pytest.param(incident(), None, NOW + 1, None, id="may still merge"),
        pytest.param(incident(priority="P0"), None, NOW + MINUTE, "opened", id="the urgent do not wait"),
        pytest.param(incident(priority="P3"), None, NOW, None, id="not urgent enough"),
        pytest.param(incident(priority="P4"), None, NOW, None, id="noise"),
        pytest.param(incident("resolved"), None, NOW, None, id="resolved alone stays silent"),
        pytest.param(incident("merged"), None, NOW, None, id="merged before it was told of"),
        pytest.param(incident(), told(), NOW, None, id="nothing new"),
        pytest.param(incident(n=6), told(), NOW, "updated", id="twice as large"),
        pytest.param(incident(n=6), told(ago=MINUTE), NOW, None, id="twice as large, too soon"),
        pytest.param(incident(priority="P1"), told(ago=MINUTE), NOW, "updated", id="now urgent, at once"),
        pytest.param(incident(priority="P3"), told(), NOW, None, id="less urgent is no news"),
        pytest.param(incident("resolved"), told(ago=MINUTE), NOW, "resolved", id="its end"),
        pytest.param(incident("merged"), told(), NOW, "merged", id="went into another"),
        pytest.param(incident("resolved"), told("resolved"), NOW, None, id="its end once"),
        pytest.param(incident(), told("resolved"), NOW, "updated", id="open anew"),
        pytest.param(incident(), told("merged"), NOW, None, id="merged is final"),
    ],
)
def test_policy(now_is: Incident, before: Told | None, settled_at: int, expected: str | None) -> None:
    assert kind_of(now_is, before, settled_at=settled_at) == expected


@pytest.mark.parametrize(
    ("status", "before", "expected"),
    [
        pytest.param("acknowledged", None, "acknowledged", id="somebody has it before it is told of"),
        pytest.param("acknowledged", told(), "acknowledged", id="somebody has it"),
        pytest.param("acknowledged", told(status="acknowledged"), None, id="and nothing is new"),
        pytest.param("open", told(ago=MINUTE, status="acknowledged"), "updated", id="nobody has it any more"),
        pytest.param("acknowledged", told(status="mitigated"), "acknowledged", id="less was done than said"),
        pytest.param("open", told("resolved", status="acknowledged"), "updated", id="it opens anew"),
    ],
)
def test_policy_of_what_people_do(status: str, before: Told | None, expected: str | None) -> None:
    assert kind_of(incident(), before, status=status) == expected


def kind_of(
    now_is: Incident, before: Told | None, *, settled_at: int = NOW, status: str = "open"
) -> str | None:
    return decide(
        now_is,
        before,
        min_priority="P2",
        settled_at_ns=settled_at,
        update_interval_ns=15 * MINUTE,
        now_ns=NOW,
        status=status,
    )


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def target(handler: Handler) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_post("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/"


@pytest.mark.parametrize(
    ("status", "delivered", "retryable"),
    [
        (200, True, None),
        (204, True, None),
        (301, False, False),
        (400, False, False),
        (401, False, False),
        (404, False, False),
        (408, False, True),
        (429, False, True),
        (500, False, True),
        (503, False, True),
    ],
)
async def test_answers_of_a_webhook(status: int, delivered: bool, retryable: bool | None) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status)

    runner, url = await target(answer)
    way = Webhook(url, 5.0)
    try:
        if delivered:
            await way.send(Outgoing(document("opened", incident(), key="k")))
        else:
            with pytest.raises(NotifyError) as caught:
                await way.send(Outgoing(document("opened", incident(), key="k")))
            assert caught.value.retryable is retryable
    finally:
        await way.close()
        await runner.cleanup()


async def test_a_refused_connection_is_tried_again() -> None:
    way = Webhook("http://127.0.0.1:1/secret?token=hush", 5.0)
    try:
        with pytest.raises(NotifyError) as caught:
            await way.send(Outgoing(document("opened", incident(), key="k")))
    finally:
        await way.close()
    assert caught.value.retryable
    assert "hush" not in str(caught.value)


async def test_apprise_says_what_it_does_not_know() -> None:
    way = channel_of(NotifyTarget(name="x", url=SecretStr("nosuchservice://token")))
    assert isinstance(way, Apprise)
    with pytest.raises(NotifyError) as caught:
        await way.send(Outgoing(document("opened", incident(), key="k")))
    assert not caught.value.retryable


async def test_apprise_delivers() -> None:
    got: list[dict[str, Any]] = []

    async def take(request: web.Request) -> web.StreamResponse:
        got.append(await request.json())
        return web.Response()

    runner, url = await target(take)
    try:
        await Apprise(url.replace("http://", "json://"), 10.0).send(
            Outgoing(document("opened", incident(), key="k"), picture=b"\x89PNG")
        )
    finally:
        await runner.cleanup()
    assert [one["filename"] for one in got[0]["attachments"]] == ["series.png"]
    assert got[0]["title"] == "[P2] db: Down"
    assert "Probable cause: db" in got[0]["message"]


def test_a_merged_incident_says_where_to() -> None:
    one = incident("merged")
    one.merged_into = "i2"
    assert "i2" in text("merged", one)
    assert "taken" not in text("merged", one)
    had = text("merged", one, {"acknowledged_by": "ann", "into_status": "open"})
    assert "ann had taken it on; that one is open." in had


def test_that_nobody_has_it_any_more_is_said_with_the_reason() -> None:
    facts = {"open_again": "ann gave it back"}
    assert "Taken on by nobody: ann gave it back" in text("updated", incident(), facts)
    assert "ann gave it back" not in text("resolved", incident("resolved"), facts)


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = NOW / 1e9

    def __call__(self) -> float:
        return self.now


class Recorder:
    """A target that fails so many times first."""

    def __init__(self, *, failures: int = 0, retryable: bool = True) -> None:
        self.got: list[str] = []
        self._failures = failures
        self._retryable = retryable

    async def send(self, outgoing: Outgoing) -> dict[str, str]:
        message = outgoing.document
        if self._failures:
            self._failures -= 1
            raise NotifyError("no", retryable=self._retryable)
        self.got.append(f"{message['kind']} {message['incident']['incident_id']}")
        return {}

    async def close(self) -> None:
        pass


async def notifier(tmp_path: Path, way: Recorder, clock: Time) -> tuple[Notifier, SqliteStore]:
    registry = CollectorRegistry()
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=registry)
    config = NotifyConfig(targets=(NotifyTarget(name="t", url=SecretStr("http://x")),))
    one = Notifier(
        store,
        config,
        hold_seconds=0.0,
        metrics=NotifyMetrics(registry),
        make_channel=lambda _: way,
        now=clock,
    )
    return one, store


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0.005)


async def test_a_restart_neither_forgets_nor_repeats(tmp_path: Path) -> None:
    clock = Time()
    down = Recorder(failures=1)
    first, store = await notifier(tmp_path, down, clock)
    await first.open([incident()])
    await _until(lambda: down._failures == 0)
    await first.stop()
    await store.close()
    assert down.got == []
    clock.now += 60.0
    up = Recorder()
    second, store = await notifier(tmp_path, up, clock)
    await second.open([incident()])
    await _until(lambda: up.got == ["opened i1"])
    second.consider([incident("resolved")])
    await _until(lambda: up.got == ["opened i1", "resolved i1"])
    await second.stop()
    await store.close()
    third, store = await notifier(tmp_path, up, clock)
    await third.open([incident("resolved")])
    await third.stop()
    await store.close()
    assert up.got == ["opened i1", "resolved i1"]


async def test_an_end_waits_for_its_beginning(tmp_path: Path) -> None:
    clock = Time()
    way = Recorder(failures=1)
    one, store = await notifier(tmp_path, way, clock)
    await one.open([incident()])
    await _until(lambda: way._failures == 0)
    one.consider([incident("resolved"), incident(name="i2")])
    await _until(lambda: way.got == ["opened i2"])
    clock.now += 60.0
    one._sender.wake(["t"])
    await _until(lambda: way.got == ["opened i2", "opened i1", "resolved i1"])
    await one.stop()
    await store.close()


async def test_what_people_were_told_of_escalates_on_where_it_goes(tmp_path: Path) -> None:
    clock, way = Time(), Recorder()
    one, store = await notifier(tmp_path, way, clock)
    await one.open([incident()])
    await _until(lambda: way.got == ["opened i1"])
    asked: list[float | None] = []

    class Asked(Everybody):
        def listeners(self, incident: Incident, *, now: float, since: float | None) -> Collection[str]:
            asked.append(since)
            return super().listeners(incident, now=now, since=since)

        def facts(self, incident: Incident, *, target: str) -> dict[str, object]:
            return {"acknowledged_by": "ann"}

    one.audience = Asked(["t"])
    assert (one.has_told("i1"), one.has_told("i2")) == (True, False)
    clock.now += 600.0
    gone = incident("merged")
    gone.merged_into = "i2"
    one.consider([gone, incident(name="i2")])
    await _until(lambda: sorted(way.got) == ["merged i1", "opened i1", "opened i2"])
    assert not one.has_told("i1")
    assert asked[-1] == clock.now - 600.0, "since people were first told of it, by whatever name"
    texts = {m.kind: str(m.document["text"]) for m in await store.messages_of_recent_incidents(0)}
    assert "ann had taken it on; that one is open." in texts["merged"]
    await one.stop()
    await store.close()


async def test_what_is_open_is_never_told_of_anew_however_many_come_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifying, "MAX_TOLD", 3)
    clock, way = Time(), Recorder()
    one, store = await notifier(tmp_path, way, clock)
    await one.open([incident(name="long")])
    for at in range(6):
        one.consider([incident(name=f"i{at}")])
        await _until(lambda at=at: f"opened i{at}" in way.got)
        one.consider([incident("resolved", name=f"i{at}")])
        await _until(lambda at=at: f"resolved i{at}" in way.got)
    assert one.has_told("long")
    assert len(one._told) <= 3
    await one.stop()
    await store.close()
    # Nor after a restart, which reads more than there is room for.
    second, store = await notifier(tmp_path, way, clock)
    await second.open([incident(name="long")])
    second.consider([incident("resolved", name="long")])
    await _until(lambda: "resolved long" in way.got)
    assert way.got.count("opened long") == 1
    await second.stop()
    await store.close()


async def test_what_cannot_be_delivered_is_given_up(tmp_path: Path) -> None:
    clock = Time()
    way = Recorder(failures=1, retryable=False)
    one, store = await notifier(tmp_path, way, clock)
    await one.open([incident()])
    async with asyncio.timeout(10):
        while True:
            messages = await store.messages_of_recent_incidents(0)
            if messages and messages[0].state != "pending":
                break
            await asyncio.sleep(0.005)
    await one.stop()
    await store.close()
    assert [(m.state, m.attempts, m.error) for m in messages] == [("dead", 1, "no")]
