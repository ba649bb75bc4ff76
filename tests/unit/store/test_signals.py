"""Signals in the embedded store are pruned with the incidents."""

from __future__ import annotations

from pathlib import Path

from sidecar.records import Signal
from tests.unit.store.test_sqlite import SECOND, opened


async def test_old_signals_are_pruned(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        kept_seconds = 400 * 86400
        await store.signal_store.put([Signal(0, "change", "cart"), Signal(2 * SECOND, "change", "cart")])
        deleted = await store.prune(now_ns=(kept_seconds + 1) * SECOND)
        assert deleted["signals"] == 1
        assert len(await store.signal_store.get()) == 1
