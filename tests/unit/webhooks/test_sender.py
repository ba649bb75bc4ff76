"""From the outbox to the targets: retries, limits, clocks, and a stand-in for the dead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from sidecar.config.model import StoreConfig
from sidecar.errors import NotifyError, StoreFull
from sidecar.records import OutboxMessage
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.respond.incidents import Clock, incident
from tests.unit.webhooks.sending import AWAY, REFUSED, Bench, OnlyFirst, Recorder, message
from webhooks.notify.channel import Outgoing
from webhooks.notify.message import document


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


async def test_what_waited_through_a_long_sleep_is_tried_more_than_once(tmp_path: Path) -> None:
    """A machine that wakes up has no network yet, and a day has passed for what waits."""
    away = Recorder(AWAY)
    async with Bench(tmp_path, {"a": away}) as bench:
        now_ns = int(bench.clock.now * 1e9)
        waiting = message("opened", 1)
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


async def test_the_page_that_comes_last_goes_first_however_many_wait(tmp_path: Path) -> None:
    """A storm of small things must not hold a page up by the minutes that it takes to tell of them all."""
    # Without a sender, which would have taken some of them meanwhile.
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    try:
        now_ns = int(Clock().now * 1e9)
        waiting = []
        for n in range(200):
            one = message("opened", 1)
            one.incident_id, one.key = f"i{n}", f"a/i{n}/1"
            one.created_at_ns, one.due_at_ns, one.priority = now_ns + n, now_ns + n, "P3"
            waiting.append(one)
        waiting[150].priority = "P2"
        later = message("updated", 2)
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


async def test_a_target_that_takes_nothing_is_told_of_once_and_when_it_does_again(tmp_path: Path) -> None:
    target = Recorder(AWAY)
    with capture_logs() as logs:
        async with Bench(tmp_path, {"a": target}) as bench:
            for name in ("i1", "i2", "i3"):
                bench.notifier.consider([incident(name)])
            await bench.until(lambda: len(target.uncertain) >= 3)
            target.error = None
            bench.pass_time(60.0)
            await bench.until(lambda: len(target.got) == 3)
    told = [(one["event"], one["target"]) for one in logs if one.get("component") == "sender"]
    assert told == [("message not delivered, will try again", "a"), ("target takes messages again", "a")]
