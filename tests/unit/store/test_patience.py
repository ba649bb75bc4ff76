"""Waits for a foreign lock: as usual, and bounded together once the process is to end."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.errors import StoreError
from sidecar.store.patience import LEAST_SECONDS, USUAL_SECONDS, Patience
from sidecar.store.sqlite import SqliteStore


@pytest.mark.parametrize(
    ("ends_within", "passed", "left"),
    [
        pytest.param(None, 1000.0, USUAL_SECONDS, id="not ending: as usual"),
        pytest.param(4.0, 1.0, 3.0, id="ending: what is left"),
        pytest.param(60.0, 0.0, USUAL_SECONDS, id="never longer than usual"),
        pytest.param(4.0, 9.0, LEAST_SECONDS, id="over: a moment each"),
    ],
)
def test_a_wait_takes_no_longer_than_there_is_patience(
    ends_within: float | None, passed: float, left: float
) -> None:
    now = [100.0]
    patience = Patience(lambda: now[0])
    if ends_within is not None:
        patience.end_within(ends_within)
    now[0] += passed
    assert patience.seconds == left


async def test_a_store_that_is_to_end_gives_a_locked_database_up(tmp_path: Path) -> None:
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    foreign = sqlite3.connect(store.path, isolation_level=None)
    foreign.execute("begin immediate")
    store.end_within(0.0)
    began = time.monotonic()
    for _ in range(5):
        with pytest.raises(StoreError, match="locked"):
            await store.put_note("n", b"lost")
    foreign.execute("rollback")
    foreign.close()
    await store.put_note("n", b"kept")
    assert await store.note("n") == b"kept"
    await store.close()
    assert time.monotonic() - began < USUAL_SECONDS, "five waits, none as long as usual"
