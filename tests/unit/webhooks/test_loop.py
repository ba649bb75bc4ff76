"""The alerts loop over a restart in the middle of a step, beside other tasks, and with what is odd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from sidecar.config.model import StoreConfig
from sidecar.config.webhook import WebhookConfig
from sidecar.errors import StoreFull
from sidecar.events import EventBus
from sidecar.records import Episode, Incident
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.deliveries import EPOCH, T1, T3, alert, delivery
from webhooks import pipeline
from webhooks.correlate.group import Merge
from webhooks.intake.fold import MAX_EPISODES, Memory
from webhooks.judge.analyst import Analyst
from webhooks.pipeline import AlertsLoop


class Teller:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int]] = []
        self.known: set[str] = set()

    def stays(self, one: str, other: str) -> str | None:
        return next((known for known in (one, other) if known in self.known), None)

    async def open(self, incidents: Iterable[Incident]) -> None:
        self.consider(incidents)

    def consider(self, incidents: Iterable[Incident]) -> None:
        self.told += [(one.incident_id, one.state, one.n_firing) for one in incidents]

    async def stop(self) -> None:
        self.told.append(("", "stopped", 0))


class Bench:
    """A loop over a real store, on a clock set by hand."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.config = WebhookConfig(**{"incident_hold": 0.0, **settings})
        self.now = EPOCH / 1e9 + 60.0

    async def __aenter__(self) -> Bench:
        self.teller = Teller()
        self.registry = CollectorRegistry()
        self.store = await SqliteStore.open(StoreConfig(directory=self.directory), registry=self.registry)
        self.loop = AlertsLoop(
            self.store,
            bus=EventBus(),
            config=self.config,
            registry=self.registry,
            teller=self.teller,
            now=lambda: self.now,
        )
        await self.loop.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.loop.stop()
        await self.store.close()

    async def take(self, *alerts: Any) -> None:
        await self.loop.intake.accept(delivery(*alerts, at_seconds=self.now - EPOCH / 1e9))

    async def until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not done():
                await asyncio.sleep(0.005)

    async def stored(self, n: int) -> list[Incident]:
        """Wait until so many incidents are stored."""
        async with asyncio.timeout(10):
            while len(found := await self.store.incidents()) < n:
                await asyncio.sleep(0.005)
        return found

    def episodes(self) -> list[Episode]:
        return list(self.loop.intake.memory.episodes.values())


async def _killed_with_an_untold_end(directory: Path, *, last_seen_ns: int) -> str:
    """A stored open incident whose only alert is stored as over; its id."""
    async with Bench(directory) as first:
        await first.take(alert("Down", service="db"))
        (one,) = await first.stored(1)
        (episode,) = first.episodes()
        await first.until(lambda: episode.incident_id == one.incident_id)
    store = await SqliteStore.open(StoreConfig(directory=directory), registry=CollectorRegistry())
    episode.state, episode.ends_at_ns, episode.last_seen_ns = "resolved", EPOCH + 10**9, last_seen_ns
    await store.commit_deliveries([], [episode])
    await store.close()
    return one.incident_id


@pytest.mark.parametrize("days_down", [0, 3])
async def test_an_end_that_was_durable_before_a_kill_ends_its_incident_after_it(
    tmp_path: Path, days_down: int
) -> None:
    one = await _killed_with_an_untold_end(tmp_path, last_seen_ns=EPOCH + 10**9)
    second = Bench(tmp_path)
    second.now += 86_400.0 * days_down
    async with second:
        await second.until(lambda: (one, "resolved", 0) in second.teller.told)
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    assert await store.incidents(state="open") == []
    await store.close()


async def test_an_alert_that_fired_on_before_a_kill_opens_its_incident_after_it(tmp_path: Path) -> None:
    async with Bench(tmp_path) as first:
        await first.take(alert("Down", service="db"))
        (one,) = await first.stored(1)
        await first.take(alert("Down", service="db", ends=T1))
        await first.until(lambda: (one.incident_id, "resolved", 0) in first.teller.told)
        (episode,) = first.episodes()
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    # Prometheus showed that it had not ended, and nothing more was written.
    episode.state, episode.ends_at_ns = "firing", None
    await store.commit_deliveries([], [episode])
    await store.close()
    async with Bench(tmp_path) as second:
        await second.until(lambda: (one.incident_id, "open", 1) in second.teller.told)


async def test_an_open_incident_without_alerts_does_not_stay_open_for_ever(tmp_path: Path) -> None:
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    stray = Incident("inc-stray", "default", "db: Down", EPOCH, EPOCH + 7, n_episodes=1, n_firing=1)
    await store.put_incidents([stray], [])
    await store.close()
    async with Bench(tmp_path) as bench:
        await bench.until(lambda: ("inc-stray", "resolved", 0) in bench.teller.told)
        found = await bench.store.incident("inc-stray")
    assert found is not None
    assert (found[0].state, found[0].ended_at_ns) == ("resolved", EPOCH + 7)


async def test_a_restart_takes_up_every_open_incident_that_may_have_an_alert(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 20,000 open ones it took up the newest 10,000, and told of the others as new."""
    asked: dict[str | None, int] = {}
    read = SqliteStore.incidents

    async def noted(store: SqliteStore, *, limit: int = 100, state: str | None = None) -> list[Incident]:
        asked.setdefault(state, limit)
        return await read(store, limit=limit, state=state)

    monkeypatch.setattr(SqliteStore, "incidents", noted)
    async with Bench(tmp_path):
        assert asked["open"] >= MAX_EPISODES


class SlowStore:
    """Holds incidents back on their way to the store, once it is told to."""

    def __init__(self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        self._put = store.put_incidents
        monkeypatch.setattr(store, "put_incidents", self.put_incidents)

    async def put_incidents(self, incidents: Sequence[Incident], members: Sequence[Episode]) -> None:
        self.reached.set()
        await self.go_on.wait()
        await self._put(incidents, members)


async def test_what_changes_while_an_incident_is_stored_is_stored_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bench(tmp_path) as bench:
        await bench.take(alert("Down", service="db"))
        (one,) = await bench.stored(1)
        slow = SlowStore(bench.store, monkeypatch)
        bench.loop.reconsider(one.incident_id)
        await asyncio.wait_for(slow.reached.wait(), 10)
        # What is learned of it now is not in the record that is on its way.
        monkeypatch.setattr("webhooks.pipeline.describe", lambda *_, **__: _renamed(one, "known better"))
        bench.loop.reconsider(one.incident_id)
        slow.go_on.set()
        async with asyncio.timeout(10):
            while (await bench.store.incidents())[0].title != "known better":
                await asyncio.sleep(0.005)


def _renamed(incident: Incident, title: str) -> Incident:
    return Incident(incident.incident_id, incident.tenant, title, incident.started_at_ns, EPOCH)


async def test_what_is_merged_by_hand_while_it_is_stored_does_not_stay_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bench(tmp_path) as bench:
        await bench.take(alert("Down", service="db"), alert("Full", service="db", disk="a"))
        (large,) = await bench.stored(1)
        slow = SlowStore(bench.store, monkeypatch)
        bench.now += 5_000.0
        await bench.take(alert("Slow", service="mail", starts=T1))
        await asyncio.wait_for(slow.reached.wait(), 10)
        groups = bench.loop.placing.analyst.correlator.groups
        (small,) = set(groups) - {large.incident_id}
        assert bench.loop.by_hand().merge(small, large.incident_id) == large.incident_id
        slow.go_on.set()
        await bench.until(lambda: any(state == "merged" for _, state, _ in bench.teller.told))
        found = await bench.store.incident(small)
        assert found is not None
        assert (found[0].state, found[0].merged_into, found[1]) == ("merged", large.incident_id, [])
        assert set(bench.loop.placing.known) == {large.incident_id}
    assert (small, "open", 1) not in bench.teller.told


async def test_an_incident_that_cannot_be_judged_is_told_of_and_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Analyst.consider

    def consider(self: Analyst, group: Any, **ways: Any) -> Any:
        if "odd" in group.parties:
            raise RuntimeError("nobody foresaw this")
        return judge(self, group, **ways)

    monkeypatch.setattr(Analyst, "consider", consider)
    async with Bench(tmp_path) as bench:
        bench.now += 3600.0
        await bench.take(alert("Down", service="odd"), alert("Slow", service="mail", starts=T3))
        found = {one.title: one for one in await bench.stored(2)}
    assert found.keys() == {"unknown: Down", "mail: Slow"}
    assert found["unknown: Down"].priority == "P2"


async def test_an_alert_that_cannot_be_placed_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    see = Analyst.sight

    def sight(self: Analyst, episode: Episode) -> Any:
        if episode.labels["service"] == "odd":
            raise RuntimeError("nobody foresaw this")
        return see(self, episode)

    monkeypatch.setattr(Analyst, "sight", sight)
    async with Bench(tmp_path) as bench:
        await bench.take(alert("Down", service="odd"), alert("Slow", service="mail"))
        (one,) = await bench.stored(1)
    assert one.title == "mail: Slow"
    assert bench.loop.last_error is None


async def test_an_open_incident_stays_open_over_a_restart(tmp_path: Path) -> None:
    async with Bench(tmp_path) as first:
        await first.take(alert("Down", service="db"))
        (before,) = await first.stored(1)
    async with Bench(tmp_path) as second:
        assert second.teller.told == [(before.incident_id, "open", 1)]
    async with Bench(tmp_path) as third:
        assert [(one.incident_id, one.state) for one in await third.store.incidents()] == [
            (before.incident_id, "open")
        ]


async def test_an_alert_that_was_not_repeated_for_half_a_day_is_stored_as_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "SWEEP_SECONDS", 0.02)
    async with Bench(tmp_path) as bench:
        await bench.take(alert("Down", service="db"))
        await bench.stored(1)
        bench.now += 13 * 3600.0
        async with asyncio.timeout(10):
            while [one.state for one in await bench.store.open_episodes()] != ["unknown"]:
                await asyncio.sleep(0.005)


async def test_a_full_disk_is_told_once_and_until_something_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Turns in which there is nothing to store do not show that there is room; alerts are told of."""
    monkeypatch.setattr(pipeline, "SWEEP_SECONDS", 0.02)
    monkeypatch.setattr(pipeline, "RETRY_SECONDS", 0.01)
    tries: list[str | None] = []

    async def full(*_: object) -> None:
        tries.append(bench.loop.last_error)
        raise StoreFull("no room")

    with capture_logs() as logs:
        async with Bench(tmp_path) as bench:
            with monkeypatch.context() as patch:
                patch.setattr(bench.store, "put_note", full)
                await bench.until(lambda: len(tries) > 5)
                await bench.take(alert("Down", service="db"))
                await bench.until(lambda: bool(bench.teller.told))
            await bench.until(lambda: bench.loop.last_error is None)
    assert tries[:5] == [None, *["no room"] * 4]
    assert sum(one["log_level"] == "warning" for one in logs) == 1


async def test_what_breaks_off_at_stop_does_not_keep_the_teller_from_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("nobody foresaw this")

    async with Bench(tmp_path) as bench:
        monkeypatch.setattr("webhooks.pipeline.describe", broken)
        await bench.take(alert("Down", service="db"))
        await bench.until(lambda: bench.loop.last_error is not None)
    assert bench.teller.told == [("", "stopped", 0)]


async def test_the_end_of_what_was_told_of_is_told_though_it_would_be_held_after_a_restart(
    tmp_path: Path,
) -> None:
    first, second = Bench(tmp_path), Bench(tmp_path)
    first.now = second.now = EPOCH / 1e9 + 1810.0
    async with first:
        await first.take(alert("Blip", service="db", starts=T3))
        (one,) = await first.stored(1)
        # By these its rule is known, at the next start, for alerts that end by themselves.
        blips = [alert("Blip", service="mail", i=str(i), ends="2026-01-01T00:02:00Z") for i in range(12)]
        await first.take(*blips)
        await first.stored(2)
    async with second:
        assert second.loop.placing.transients.wait("default", "Blip") == 120.0
        assert one.incident_id not in {told for told, *_ in second.teller.told}, "held, though told of before"
        await second.take(alert("Blip", service="db", starts=T3, ends="2026-01-01T00:30:10Z"))
        await second.until(lambda: (one.incident_id, "resolved", 0) in second.teller.told)


async def test_what_a_told_incident_goes_into_is_not_held(tmp_path: Path) -> None:
    """It was said: follow that one. So that one must be told of."""
    async with Bench(tmp_path) as bench:
        await bench.take(alert("Blip", service="db"))
        (one,) = await bench.stored(1)
        for _ in range(12):
            bench.loop.placing.transients.learn("default", "Blip", 120.0)
        await bench.take(*(alert("Blip", service="mail", i=str(i)) for i in range(3)))
        await bench.until(lambda: any(state == "merged" for _, state, _ in bench.teller.told))
        (stays,) = bench.loop.placing.known
        await bench.until(lambda: (stays, "open", 4) in bench.teller.told)
    assert stays != one.incident_id


async def test_what_was_over_before_a_restart_is_marked_as_merged_after_it(tmp_path: Path) -> None:
    """Its alerts are the other's then; without the mark it stands among the resolved with none."""
    async with Bench(tmp_path) as first:
        await first.take(alert("Blip", service="db"))
        (one,) = await first.stored(1)
        await first.take(alert("Blip", service="db", ends="2026-01-01T00:00:50Z"))
        await first.until(lambda: (one.incident_id, "resolved", 0) in first.teller.told)
    async with Bench(tmp_path) as second:
        assert second.teller.told == [], "what is over is no news"
        await second.take(*(alert("Blip", service="mail", i=str(i)) for i in range(3)))
        await second.until(lambda: (one.incident_id, "merged", 0) in second.teller.told)


async def test_of_two_incidents_the_one_that_people_know_stays(tmp_path: Path) -> None:
    """Its message, its thread and whoever has it are theirs; the other is larger, and nobody's."""
    async with Bench(tmp_path) as bench:
        await bench.take(alert("Blip", service="db"))
        (one,) = await bench.stored(1)
        bench.teller.known = {one.incident_id}
        await bench.take(*(alert("Blip", service="mail", i=str(i)) for i in range(3)))
        await bench.until(lambda: (one.incident_id, "open", 4) in bench.teller.told)
    assert (one.incident_id, "merged", 0) not in bench.teller.told


async def test_where_an_incident_went_is_one_that_was_ever_stored(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        placing = bench.loop.placing
        placing.known["inc-a"] = Incident("inc-a", "default", "db: Down", EPOCH, EPOCH)
        placing.take_merge(Merge("inc-a", "inc-brief", ()), bench.now)
        placing.take_merge(Merge("inc-brief", "inc-stays", ()), bench.now)
        async with asyncio.timeout(10):  # What is unsaved is taken before it is written.
            while (found := await bench.store.incident("inc-a")) is None:
                await asyncio.sleep(0.005)
    assert found[0].merged_into == "inc-stays"


async def test_an_alert_stays_where_it_was_put_though_its_delivery_was_read_before(tmp_path: Path) -> None:
    """Of an incident that went into another, no repeat on its way to the store may bring it back."""
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    memory = Memory()
    changes = memory.fold([delivery(alert("Down", service="db"))])
    memory.apply(changes)
    (episode,) = memory.episodes.values()
    episode.incident_id = "inc-gone"
    await store.commit_deliveries([], [episode])
    late = memory.fold([delivery(alert("Down", service="db", ends=T1), at_seconds=600)])
    episode.incident_id = "inc-stays"
    stays = Incident("inc-stays", "default", "db: Down", EPOCH, EPOCH)
    await store.put_incidents([stays], [episode])
    await store.commit_deliveries([], late.durable())
    (stored,) = await store.episodes("where 1")
    await store.close()
    assert (stored.incident_id, stored.state) == ("inc-stays", "resolved")


@pytest.mark.parametrize("state", ["open", "resolved"])
async def test_what_could_not_be_handed_on_is_handed_on_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setattr(pipeline, "RETRY_SECONDS", 0.05)
    async with Bench(tmp_path) as bench:
        told, once = bench.teller.consider, [RuntimeError("nobody foresaw this")]

        def consider(incidents: Iterable[Incident]) -> None:
            incidents = list(incidents)
            if once and any(one.state == state for one in incidents):
                raise once.pop()
            told(incidents)

        bench.teller.consider = consider  # type: ignore[method-assign]
        await bench.take(alert("Down", service="db"))
        (one,) = await bench.stored(1)
        await bench.until(lambda: (one.incident_id, "open", 1) in bench.teller.told)
        await bench.take(alert("Down", service="db", ends=T1))
        await bench.until(lambda: (one.incident_id, "resolved", 0) in bench.teller.told)
    assert not once


async def test_alerts_that_break_the_storms_watch_off_become_incidents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    async with Bench(tmp_path) as bench:
        monkeypatch.setattr(bench.loop.placing.storms, "take", broken)
        await bench.take(alert("Down", service="db"))
        await bench.stored(1)


async def test_a_teller_that_takes_nothing_does_not_hold_up_the_end(tmp_path: Path) -> None:
    def broken(_: Iterable[Incident]) -> None:
        raise RuntimeError("nobody foresaw this")

    async with Bench(tmp_path) as bench:
        bench.teller.consider = broken  # type: ignore[method-assign]
        await bench.take(alert("Down", service="db"))
        await bench.stored(1)
        async with asyncio.timeout(10):
            await bench.loop.stop()
    assert bench.teller.told[0] == ("", "stopped", 0)
