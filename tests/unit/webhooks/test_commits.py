"""While one batch is being stored the next is made on top of it; a failure takes nothing else along."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from sidecar.errors import StoreError, StoreFull
from sidecar.ports import AlertStore
from sidecar.records import Delivery, Episode
from tests.unit.webhooks.deliveries import T1, alert, delivery
from webhooks.intake.commits import Intake
from webhooks.intake.fold import Memory


class Disk:
    """A store whose commits last until they are told how they end."""

    def __init__(self) -> None:
        self.begun: list[tuple[asyncio.Future[None], list[Episode]]] = []
        self.rows: dict[tuple[str, str, int], tuple[str, int]] = {}
        self._news = asyncio.Event()

    async def commit_deliveries(self, _: Sequence[Delivery], changed: Sequence[Episode]) -> None:
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.begun.append((end, list(changed)))
        self._news.set()
        await end
        self.rows.update({one.key: (one.state, one.deliveries) for one in changed})

    async def begins(self, n: int) -> None:
        """Return once the n-th commit has begun."""
        async with asyncio.timeout(30.0):
            while len(self.begun) <= n:
                self._news.clear()
                await self._news.wait()

    async def finish(self, n: int, error: Exception | None = None) -> list[Episode]:
        """End the n-th commit, once it has begun; what it was to store."""
        await self.begins(n)
        end, changed = self.begun[n]
        if error is None:
            end.set_result(None)
        else:
            end.set_exception(error)
        return changed


class Desk:
    """An intake over such a store, and what it handed on."""

    def __init__(self) -> None:
        self.disk, self.memory = Disk(), Memory()
        self.told: list[Episode] = []
        self.registry = CollectorRegistry()
        self.intake = Intake(
            cast(AlertStore, self.disk),
            memory=self.memory,
            max_waiting=100,
            registry=self.registry,
            on_committed=self.told.extend,
        )

    def send(self, *alerts: dict[str, Any], at_seconds: float = 0.0, **fields: Any) -> asyncio.Task[None]:
        return asyncio.create_task(self.intake.accept(delivery(*alerts, at_seconds=at_seconds, **fields)))

    def accepted(self) -> float:
        names = ("firing", "resolved")
        found = [
            self.registry.get_sample_value("pronoia_webhook_alerts_total", {"status": name}) for name in names
        ]
        return sum(one or 0.0 for one in found)


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_repeat_and_an_end_are_folded_over_what_is_being_stored(desk: Desk) -> None:
    desk.intake.start()
    first = desk.send(alert())
    await desk.disk.begins(0)
    repeat, end = desk.send(alert(), at_seconds=1.0), desk.send(alert(ends=T1), at_seconds=2.0)
    await asyncio.sleep(0)
    assert desk.memory.episodes == {}
    await desk.disk.finish(0)
    await first
    await desk.disk.finish(1)
    await asyncio.gather(repeat, end)
    await desk.intake.stop()
    assert list(desk.disk.rows.values()) == [("resolved", 3)]
    assert (desk.memory.n_open, desk.accepted()) == (0, 3.0)


async def test_what_was_folded_over_a_failed_commit_is_folded_anew(desk: Desk) -> None:
    """The second sender only repeats; it must not be answered before the alert itself is durable."""
    desk.intake.start()
    first = desk.send(alert())
    await desk.disk.begins(0)
    second = desk.send(alert(), at_seconds=1.0)
    await asyncio.sleep(0)
    await desk.disk.finish(0, StoreFull("no room"))
    with pytest.raises(StoreFull):
        await first
    (stored,) = await desk.disk.finish(1)
    await second
    await desk.intake.stop()
    assert (stored.state, stored.deliveries) == ("firing", 1)
    assert (desk.memory.n_open, desk.accepted()) == (1, 1.0)


async def test_a_full_disk_is_told_until_something_is_stored(desk: Desk) -> None:
    desk.intake.start()
    refused = desk.send(alert())
    await desk.disk.finish(0, StoreFull("no room"))
    with pytest.raises(StoreFull):
        await refused
    assert desk.intake.trouble == "no room"
    stored = desk.send(alert(), at_seconds=1.0)
    await desk.disk.finish(1)
    await stored
    await desk.intake.stop()
    assert desk.intake.trouble is None


async def test_repeats_during_a_commit_count_once_each(desk: Desk) -> None:
    desk.intake.start()
    sent = [desk.send(alert())]
    await desk.disk.finish(0)
    await sent[0]
    for n in range(1, 4):
        sent.append(desk.send(alert(), at_seconds=float(n)))
        await desk.disk.begins(n)
        sent.append(desk.send(alert(), at_seconds=n + 0.5))
        await asyncio.sleep(0)
        await desk.disk.finish(n)
    await desk.disk.finish(4)
    await asyncio.gather(*sent)
    await desk.intake.stop()
    (episode,) = desk.memory.episodes.values()
    assert (episode.deliveries, episode.last_seen_ns - episode.first_seen_ns) == (7, 3_500_000_000)


@pytest.fixture
def odd_is_strange(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """To fold an alert `Odd` breaks off."""
    whole = desk.memory._fold_one

    def odd(event: Any, *rest: Any) -> None:
        if event.labels["alertname"] == "Odd":
            raise RuntimeError("strange")
        whole(event, *rest)

    monkeypatch.setattr(desk.memory, "_fold_one", odd)


@pytest.mark.usefixtures("odd_is_strange")
async def test_a_delivery_that_cannot_be_read_fails_alone(desk: Desk) -> None:
    desk.intake.start()
    sent = [desk.send(alert())]
    await desk.disk.begins(0)
    sent += [desk.send(alert(name)) for name in ("A", "B", "Odd", "C")]
    await asyncio.sleep(0)
    for n in range(3):
        await desk.disk.finish(n)
    answers = await asyncio.gather(*sent, return_exceptions=True)
    await desk.intake.stop()
    assert [type(answer) for answer in answers] == [type(None)] * 3 + [StoreError, type(None)]
    assert len(desk.disk.rows) == 4


@pytest.mark.usefixtures("odd_is_strange")
async def test_nothing_stays_of_a_delivery_that_broke_off_halfway(desk: Desk) -> None:
    desk.intake.start()
    sent = [desk.send(alert("A")), desk.send(alert("B"), alert("Odd"))]
    await desk.disk.finish(0)
    sent.append(desk.send(alert("C")))
    await desk.disk.finish(1)
    answers = await asyncio.gather(*sent, return_exceptions=True)
    await desk.intake.stop()
    assert [type(answer) for answer in answers] == [type(None), StoreError, type(None)]
    assert {episode.labels["alertname"] for episode in desk.memory.episodes.values()} == {"A", "C"}


async def test_who_waits_is_answered_also_where_a_batch_cannot_be_folded_anew(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.intake.start()
    first = desk.send(alert("A"))
    await desk.disk.begins(0)
    waits = desk.send(alert("B"))
    await asyncio.sleep(0)
    with monkeypatch.context() as strange:
        strange.setattr(desk.memory, "_fold_one", lambda *_: 1 / 0)
        await desk.disk.finish(0, StoreFull("no room"))
        async with asyncio.timeout(20.0):
            answers = await asyncio.gather(first, waits, return_exceptions=True)
    again = desk.send(alert("B"))
    await desk.disk.finish(1)
    await again
    await desk.intake.stop()
    assert [type(answer) for answer in answers] == [StoreFull, StoreError]
    assert desk.memory.n_open == 1


async def test_a_stop_waits_for_what_is_being_stored_and_takes_nothing_more(desk: Desk) -> None:
    desk.intake.start()
    sent = desk.send(alert("A"))
    await desk.disk.begins(0)
    stop = asyncio.create_task(desk.intake.stop())
    await asyncio.sleep(0.01)
    assert not stop.done()
    with pytest.raises(StoreError, match="shutting down"):
        await desk.send(alert("B"))
    await desk.disk.finish(0)
    await asyncio.gather(stop, sent)
    assert desk.memory.n_open == 1


async def test_senders_that_come_back_together_are_parted_into_halves(desk: Desk) -> None:
    desk.intake.start()
    sent = [desk.send(alert(f"A{n}")) for n in range(8)]
    sizes = [len(await desk.disk.finish(n)) for n in range(2)]
    await asyncio.gather(*sent)
    await desk.intake.stop()
    assert sizes == [4, 4]


async def test_trouble_behind_a_commit_stops_no_intake(desk: Desk) -> None:
    def broken(_: Sequence[Episode]) -> None:
        raise RuntimeError("strange")

    desk.intake._on_committed = broken
    desk.intake.start()
    for n, name in enumerate("AB"):
        sent = desk.send(alert(name))
        await desk.disk.finish(n)
        await sent
    await desk.intake.stop()
    assert desk.memory.n_open == 2


async def test_a_delivery_of_very_many_is_stored_in_parts_and_answered_once_all_are(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Taken whole, a hundred thousand alerts would let no scrape through for most of a second."""
    monkeypatch.setattr("webhooks.intake.commits.BATCH_ALERTS", 2)
    desk.intake.start()
    names = [f"A{n}" for n in range(5)]
    many = desk.send(*(alert(name) for name in names), truncatedAlerts=7)
    stored = [[one.labels["alertname"] for one in await desk.disk.finish(0)]]
    stored.append([one.labels["alertname"] for one in await desk.disk.finish(1)])
    await desk.disk.begins(2)
    assert not many.done()
    stored.append([one.labels["alertname"] for one in await desk.disk.finish(2)])
    await many
    await desk.intake.stop()
    assert stored == [names[:2], names[2:4], names[4:]]
    assert [one.labels["alertname"] for one in desk.told] == names
    assert desk.registry.get_sample_value("pronoia_webhook_truncated_alerts_total") == 7.0


async def test_a_delivery_of_which_a_part_is_not_stored_is_sent_again_and_repeats_the_rest(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webhooks.intake.commits.BATCH_ALERTS", 1)
    desk.intake.start()
    refused = desk.send(alert("A"), alert("B"), alert("C"))
    await desk.disk.finish(0)
    await desk.disk.finish(1, StoreFull("no room"))
    await desk.disk.finish(2)
    with pytest.raises(StoreFull):
        await refused
    again = desk.send(alert("A"), alert("B"), alert("C"), at_seconds=1.0)
    for n in range(3, 6):
        await desk.disk.finish(n)
    await again
    await desk.intake.stop()
    assert sorted(one.labels["alertname"] for one in desk.told) == ["A", "B", "C"]
    assert (desk.memory.n_open, len(desk.disk.rows)) == (3, 3)
