"""Signals in the store: idempotent, in order, pruned with the incidents."""

from __future__ import annotations

from pathlib import Path

from sidecar.records import Incident, Signal
from tests.unit.store.test_sqlite import SECOND, episode, opened

SIGNALS = [
    Signal(30, "change", "cart"),
    Signal(10, "anomaly", "cart", 2.5),
    Signal(10, "anomaly", "web", 1.5),
]


async def test_what_is_put_twice_is_kept_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        await store.signal_store.put(SIGNALS)
        await store.signal_store.put(SIGNALS[:1])
        assert await store.signal_store.get() == [*SIGNALS[1:], SIGNALS[0]]
        assert await store.signal_store.get(since_ns=11) == [SIGNALS[0]]


async def test_the_beginning_is_noted_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        assert await store.signal_store.since() is None
        await store.signal_store.begin(5)
        await store.signal_store.begin(7)
        assert await store.signal_store.since() == 5


async def test_old_signals_are_pruned(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        kept_seconds = 400 * 86400
        await store.signal_store.put([Signal(0, "change", "cart"), Signal(2 * SECOND, "change", "cart")])
        deleted = await store.prune(now_ns=(kept_seconds + 1) * SECOND)
        assert deleted["signals"] == 1
        assert len(await store.signal_store.get()) == 1


async def test_starts_of_episodes_are_the_newest_and_those_of_their_incidents(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        members = [episode(n, starts_at_ns=10 * n, incident_id="late") for n in range(1, 4)]
        alone = [episode(n, starts_at_ns=10 * n) for n in range(4, 7)]
        await store.commit_deliveries([], [*members, *alone])
        body = Incident("late", "default", "x", started_at_ns=35, last_change_ns=35)
        await store.put_incidents([body], members)
        found = await store.signal_store.alert_starts(since_ns=50, limit=10)
        assert [one.starts_at_ns for one in found] == [50, 60]
        found = await store.signal_store.alert_starts(since_ns=35, limit=10)
        assert [one.starts_at_ns for one in found] == [10, 20, 30, 40, 50, 60]
        assert {one.incident_id for one in found[:3]} == {"late"}
        newest = await store.signal_store.alert_starts(limit=2)
        assert [one.starts_at_ns for one in newest] == [50, 60]
