"""From the outbox to the targets: retries, limits, a stand-in for the dead, and what is left out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from sidecar.config.channels import NotifyConfig, NotifyTarget
from sidecar.config.model import StoreConfig
from sidecar.errors import NotifyError, StoreFull
from sidecar.records import OutboxMessage
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.respond.incidents import Clock, incident
from webhooks.notify.channel import Outgoing
from webhooks.notify.message import document
from webhooks.notify.notifier import Notifier
from webhooks.notify.outbox import NotifyMetrics
from webhooks.notify.sender import _is_old_news


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

    async def stored(self, n: int) -> None:
        """Wait until the outbox holds so many."""
        async with asyncio.timeout(10):
            while len(await self.states()) < n:
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


async def test_a_clock_that_is_set_back_by_an_hour_delays_nothing_by_an_hour(tmp_path: Path) -> None:
    away = Recorder(AWAY)
    async with Bench(tmp_path, {"a": away}) as bench:
        bench.notifier.consider([incident()])
        await bench.until(lambda: len(away.uncertain) == 1)
        await bench.stored(1)
        away.error = None
        bench.pass_time(-3600)
        async with asyncio.timeout(10):
            while not await bench.store.messages_due(int((bench.clock.now + 5) * 1e9), limit=9):
                await asyncio.sleep(0.005)
        bench.pass_time(5)
        await bench.until(lambda: away.got == ["opened i1"])


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
        for n_stored, n in enumerate((10, 30, 90), start=2):
            bench.clock.now += 1
            bench.notifier.consider([incident(n_episodes=n)])
            await bench.stored(n_stored)
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
        await bench.stored(4)
        assert target.got == ["opened i0"]
        bench.pass_time(10)
        await bench.until(lambda: len(target.got) == 2)
        assert target.got[1] == "opened i3"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        pytest.param("sender.LOOK", 2, id="behind what is looked at together"),
        pytest.param("limiter.BURST_SHARE", 0.0, id="until the next permit"),
    ],
)
async def test_what_waits_is_not_given_the_pause_of_an_empty_outbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, value: float
) -> None:
    monkeypatch.setattr("webhooks.notify.sender.TICK_SECONDS", 600.0)
    monkeypatch.setattr(f"webhooks.notify.{setting}", value)
    target = Recorder()
    bench = Bench(tmp_path, {"a": target})
    bench.clock = cast(Clock, time.time)  # Permits come as time passes.
    async with bench:
        bench.notifier.consider([incident(f"i{n}") for n in range(5)])
        await bench.until(lambda: len(target.got) == 5)


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


async def test_a_target_that_is_gone_from_the_configuration_holds_nothing(tmp_path: Path) -> None:
    async with Bench(tmp_path, {"a": Recorder(AWAY)}) as bench:
        bench.notifier.consider([incident()])
        await bench.until(lambda: bool(bench.targets["a"].uncertain))
    async with Bench(tmp_path, {"b": Recorder()}) as bench:
        assert (await bench.states())["a/i1/1"] == "dead"


async def test_what_a_channel_breaks_off_with_is_a_failed_try_like_others(tmp_path: Path) -> None:
    odd = Recorder(cast(NotifyError, KeyError("ts")))
    async with Bench(tmp_path, {"a": odd}) as bench:
        bench.notifier.consider([incident()])
        await bench.until(lambda: len(odd.uncertain) == 1)
        for _ in range(3):
            bench.pass_time(1)
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            while not (due := await bench.store.messages_due(2**62, limit=9))[0].attempts:
                await asyncio.sleep(0.005)
        assert due[0].due_at_ns > due[0].created_at_ns, "it waits like others"
        odd.error = None
        bench.pass_time(5)
        await bench.until(lambda: odd.got == ["opened i1"])
        assert odd.uncertain == [False, True], "and it may have arrived"


async def test_what_was_sent_while_nothing_could_be_stored_is_not_sent_again(tmp_path: Path) -> None:
    target = Recorder()
    async with Bench(tmp_path, {"a": target}) as bench:
        put, refused = bench.store.put_messages, 0

        async def full(messages: Sequence[OutboxMessage]) -> None:
            nonlocal refused
            if any(one.state == "sent" for one in messages) and refused < 4:
                refused += 1
                raise StoreFull("disk full")
            await put(messages)

        bench.store.put_messages = full  # type: ignore[method-assign]
        bench.notifier.consider([incident()])
        while refused < 4:
            bench.pass_time(1)
            await asyncio.sleep(0.005)
        bench.pass_time(1)
        async with asyncio.timeout(10):
            while await bench.states() != {"a/i1/1": "sent"}:
                bench.pass_time(1)
                await asyncio.sleep(0.005)
        assert target.got == ["opened i1"]


def _message(kind: str, number: int, status: str = "open") -> OutboxMessage:
    key = f"a/i1/{number}"
    return OutboxMessage(key, "a", "i1", number, kind, "P2", 1, 0, 0, {"status": status})


@pytest.mark.parametrize(
    ("kinds", "left"),
    [
        pytest.param(["opened", "updated", "updated"], ["opened", "updated"], id="the last update tells all"),
        pytest.param(["opened", "updated", "resolved"], ["opened", "resolved"], id="an end tells all"),
        pytest.param(
            ["opened", "acknowledged", "updated acknowledged"],
            ["opened", "acknowledged", "updated"],
            id="a pager must hear that it was taken on",
        ),
        pytest.param(["opened", "acknowledged", "updated"], ["opened", "updated"], id="taken on no more"),
        pytest.param(["acknowledged", "mitigated mitigated"], ["mitigated"], id="taken on twice"),
        pytest.param(["acknowledged", "resolved"], ["resolved"], id="taken on and over"),
        pytest.param(["resolved", "updated"], ["resolved", "updated"], id="ended and opened anew"),
    ],
)
def test_what_is_old_news(kinds: list[str], left: list[str]) -> None:
    made = []
    for number, words in enumerate(kinds):
        kind, _, status = words.partition(" ")
        made.append(_message(kind, number, status or ("acknowledged" if kind == "acknowledged" else "open")))
    kept = [
        one.kind for at, one in enumerate(made) if not made[at + 1 :] or not _is_old_news(one, made[at + 1 :])
    ]
    assert kept == left


async def test_what_waited_through_a_long_sleep_is_tried_more_than_once(tmp_path: Path) -> None:
    """A machine that wakes up has no network yet, and a day has passed for what waits."""
    away = Recorder(AWAY)
    async with Bench(tmp_path, {"a": away}) as bench:
        now_ns = int(bench.clock.now * 1e9)
        waiting = _message("opened", 1)
        waiting.created_at_ns = waiting.due_at_ns = now_ns
        waiting.document = document("opened", incident(), key=waiting.key)
        bench.clock.now += 2 * 86400.0
        await bench.store.put_messages([waiting])
        bench.pass_time(0)
        await bench.until(lambda: len(away.uncertain) == 1)
        away.error = None
        bench.pass_time(60)
        await bench.until(lambda: away.got == ["opened i1"])


async def test_an_odd_incident_silences_no_other_and_is_told_of_when_it_can_be(tmp_path: Path) -> None:
    class Odd(OnlyFirst):
        broken = True

        def facts(self, one: object, **_: object) -> dict[str, object]:
            if self.broken and getattr(one, "incident_id", "") == "odd":
                raise RuntimeError("nobody foresaw this")
            return {}

        async def prepare(self, _: object) -> None:
            raise RuntimeError("nor this")

    first = Recorder()
    async with Bench(tmp_path, {"a": first}) as bench:
        bench.notifier.audience = audience = Odd()
        bench.notifier.consider([incident("odd"), incident("i2")])
        await bench.until(lambda: first.got == ["opened i2"])
        audience.broken = False
        bench.pass_time(1)
        await bench.until(lambda: first.got == ["opened i2", "opened odd"])


async def test_a_clock_that_is_set_back_holds_no_incident_for_longer(tmp_path: Path) -> None:
    first = Recorder()
    bench = Bench(tmp_path, {"a": first})
    async with bench:
        bench.notifier._hold_ns = 30 * 10**9
        bench.notifier.consider([incident()])
        bench.pass_time(-86_400)
        await bench.until(lambda: bench.notifier._first_seen_ns["i1"] <= bench.clock.now * 1e9)
        bench.pass_time(31)
        await bench.until(lambda: first.got == ["opened i1"])


async def test_a_thread_that_was_begun_anew_is_the_one_that_is_followed(tmp_path: Path) -> None:
    class Threads(Recorder):
        async def send(self, outgoing: Outgoing) -> dict[str, str]:
            self.got.append(outgoing.thread.get("ts", ""))
            return {"ts": str(len(self.got))}

    threads = Threads()
    async with Bench(tmp_path, {"a": threads}) as bench:
        for n in (3, 6, 12):
            bench.clock.now += 1
            bench.notifier.consider([incident(n_episodes=n)])
            await bench.until(lambda n=n: len(threads.got) == {3: 1, 6: 2, 12: 3}[n])
    assert threads.got == ["", "1", "2"]


async def test_the_message_of_a_merge_names_the_incident_that_goes_on(tmp_path: Path) -> None:
    said: list[str] = []

    class Words(Recorder):
        async def send(self, outgoing: Outgoing) -> dict[str, str]:
            said.append(f"{outgoing.document['title']}\n{outgoing.document['text']}")
            return {}

    async with Bench(tmp_path, {"a": Words()}) as bench:
        bench.notifier.consider([incident()])
        await bench.until(lambda: len(said) == 1)
        bench.notifier.consider(
            [incident(state="merged", merged_into="i2"), incident("i2", title="lb: Down")]
        )
        await bench.until(lambda: len(said) == 3)
    merged = next(words for words in said if "merged into i2" in words)
    assert "part of incident i2 ([P2] lb: Down) now: follow that one" in merged


async def test_the_page_that_comes_last_goes_first_however_many_wait(tmp_path: Path) -> None:
    """A storm of small things must not hold a page up by the minutes that it takes to tell of them all."""
    # Without a sender, which would have taken some of them meanwhile.
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    try:
        now_ns = int(Clock().now * 1e9)
        waiting = []
        for n in range(200):
            one = _message("opened", 1)
            one.incident_id, one.key = f"i{n}", f"a/i{n}/1"
            one.created_at_ns, one.due_at_ns, one.priority = now_ns + n, now_ns + n, "P3"
            waiting.append(one)
        waiting[150].priority = "P2"
        later = _message("updated", 2)
        later.incident_id, later.key, later.priority = "i150", "a/i150/2", "P0"
        later.created_at_ns = later.due_at_ns = now_ns + 999
        await store.put_messages([*waiting, later])
        due = await store.messages_due(now_ns + 1000, limit=5, target="b")
        assert due == []
        for one in (*waiting, later):
            one.target = "b"
        await store.put_messages([*waiting, later])
        due = await store.messages_due(now_ns + 1000, limit=5, target="b")
    finally:
        await store.close()
    assert [one.key for one in due] == ["a/i150/1", "a/i150/2", "a/i0/1", "a/i1/1", "a/i2/1"]


async def test_the_same_report_again_is_sent_once(tmp_path: Path) -> None:
    first = Recorder()
    async with Bench(tmp_path, {"a": first}) as bench:
        for _ in range(2):
            await bench.notifier.send_report("a", "noise-week-1", title="t", text="x")
            await bench.until(lambda: len(first.got) >= 1)
            async with asyncio.timeout(10):
                while "pending" in (await bench.states()).values():
                    await asyncio.sleep(0.005)
    async with Bench(tmp_path, {"a": first}) as again:
        await again.notifier.send_report("a", "noise-week-1", title="t", text="x")
        await again.notifier.send_report("a", "noise-week-2", title="t", text="x")
        await again.until(lambda: len(first.got) >= 2)
    assert first.got == ["report noise-week-1", "report noise-week-2"]


async def test_of_thousands_of_open_incidents_only_what_changed_is_decided_upon(tmp_path: Path) -> None:
    class Counting(OnlyFirst):
        asked = 0

        def listeners(self, *_: object, **__: object) -> list[str]:
            self.asked += 1
            return []

    async with Bench(tmp_path, {"a": Recorder()}) as bench:
        bench.notifier.audience = audience = Counting()
        bench.notifier.consider([incident(f"i{n}") for n in range(1000)])
        await bench.until(lambda: audience.asked >= 1000)
        for n in range(20):
            asked = audience.asked
            bench.notifier.consider([incident(f"i{n}")])
            await bench.until(lambda asked=asked: audience.asked > asked)
    # Besides what has changed, all of them every few seconds, and once more at the end.
    assert audience.asked < 1000 + 20 + 6 * 1000


async def test_a_pause_that_is_asked_for_holds_no_message_beyond_its_fallbacks_time(tmp_path: Path) -> None:
    """`Retry-After: 3600`, and a page: the fallback's time passes within the pause."""
    busy, other = Recorder(NotifyError("429", retryable=True, retry_after_seconds=3600.0)), Recorder()
    async with Bench(tmp_path, {"a": busy, "b": other}, fallbacks={"a": "b"}) as bench:
        bench.notifier.audience = OnlyFirst()
        bench.notifier.consider([incident()])
        await bench.until(lambda: len(busy.uncertain) == 1)
        await bench.stored(1)
        bench.notifier.consider([incident("i2")])
        await bench.stored(2)
        bench.pass_time(60)
        assert other.got == []
        bench.pass_time(61)
        await bench.until(lambda: sorted(other.got) == ["opened i1", "opened i2"])
        assert len(busy.uncertain) == 1, "and nobody is asked in the pause"


async def test_a_clock_that_is_set_back_stops_no_escalation(tmp_path: Path) -> None:
    """The next one is called so long after the first message, by any clock."""

    class Escalating(OnlyFirst):
        def listeners(self, *_: object, now: float, since: float | None, **__: object) -> list[str]:
            return ["a"] if since is None or now - since < 300.0 else ["a", "b"]

    first, second = Recorder(), Recorder()
    async with Bench(tmp_path, {"a": first, "b": second}) as bench:
        bench.notifier.audience = Escalating()
        bench.notifier.consider([incident()])
        await bench.until(lambda: first.got == ["opened i1"])
        bench.pass_time(-3600)
        await bench.until(lambda: bench.notifier._by_clock == bench.clock.now)
        bench.pass_time(299)
        await bench.until(lambda: bench.notifier._by_clock == bench.clock.now)
        assert second.got == []
        bench.pass_time(2)
        await bench.until(lambda: second.got == ["opened i1"])


async def test_nobody_is_called_for_what_has_gone_into_another_before_it_was_told_of(tmp_path: Path) -> None:
    first = Recorder()
    async with Bench(tmp_path, {"a": first}, per_minute=6) as bench:
        bench.notifier.consider([incident("i0")])
        await bench.until(lambda: first.got == ["opened i0"])
        bench.notifier.consider([incident("i1"), incident("i2")])
        await bench.stored(3)
        bench.notifier.consider([incident("i1", state="merged", merged_into="i2")])
        await bench.stored(4)
        bench.pass_time(60)
        await bench.until(lambda: "opened i2" in first.got)
        bench.pass_time(60)
        async with asyncio.timeout(10):
            while "pending" in (states := await bench.states()).values():
                await asyncio.sleep(0.005)
    assert first.got == ["opened i0", "opened i2"]
    assert (states["a/i1/1"], states["a/i1/2"]) == ("superseded", "superseded")


async def test_what_was_tried_and_has_gone_into_another_is_ended_there(tmp_path: Path) -> None:
    """It may have arrived, whatever the answer was."""
    away = Recorder(AWAY)
    async with Bench(tmp_path, {"a": away}) as bench:
        bench.notifier.consider([incident()])
        await bench.until(lambda: len(away.uncertain) == 1)
        await bench.stored(1)
        bench.notifier.consider([incident(state="merged", merged_into="i2")])
        await bench.stored(2)
        away.error = None
        bench.pass_time(60)
        await bench.until(lambda: away.got == ["opened i1", "merged i1"])
