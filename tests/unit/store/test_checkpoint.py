"""The log is carried into the database beside the commits, and whatever happens there harms none of them."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from sidecar.store import checkpoint
from sidecar.store.checkpoint import Checkpointer
from sidecar.store.connection import FILE
from tests.integration.servers import wait_until
from tests.unit.store.test_sqlite import episode, opened


async def test_the_database_grows_while_the_store_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "ROWS", 500)
    async with opened(tmp_path) as (store, _):
        file = tmp_path / FILE
        empty = file.stat().st_size
        await store.commit_deliveries([], [episode(i) for i in range(400)])
        assert file.stat().st_size == empty
        await store.commit_deliveries([], [episode(i) for i in range(400, 800)])
        await asyncio.to_thread(
            wait_until, lambda: file.stat().st_size > empty + 50_000, what="the log in the database"
        )
        assert len(await store.open_episodes()) == 800


def test_small_commits_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "COMMITS", 3)
    asked: list[str] = []

    class Noting(sqlite3.Connection):
        def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:
            asked.append(sql)
            raise sqlite3.OperationalError("disk I/O error")

    checkpointer = Checkpointer(sqlite3.connect(tmp_path / "x.db", factory=Noting, check_same_thread=False))
    for n in (1, 2):
        for _ in range(3):
            checkpointer.committed(1)
        wait_until(lambda n=n: len(asked) == n, what="a checkpoint, also after one that failed")  # type: ignore[misc]
    checkpointer.close()
    assert "passive" in asked[0]
