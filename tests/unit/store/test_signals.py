"""Signals in the store: idempotent, in order, pruned with the incidents."""

from __future__ import annotations

from pathlib import Path

from sidecar.records import Signal
from tests.unit.store.test_sqlite import SECOND, opened

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
