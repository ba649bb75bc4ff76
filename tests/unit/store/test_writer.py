"""The one writer: what its pieces of work leave behind stays on its thread."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from sidecar.store.checkpoint import Checkpointer
from sidecar.store.connection import connect
from sidecar.store.patience import Patience
from sidecar.store.presence import Presence
from sidecar.store.writer import StoreMetrics, Writer


async def test_no_cursor_leaves_the_thread_of_its_connection(tmp_path: Path) -> None:
    """Freed on the event loop it would reset a statement that the next piece of work has just begun."""
    path = tmp_path / "a.db"
    connection, metrics = connect(path), StoreMetrics(CollectorRegistry())
    connection.execute("create table a (n)")
    writer = Writer(connection, metrics, Checkpointer(connect(path)), Presence(path), Patience())
    left: list[sqlite3.Cursor] = []

    def insert(connection: sqlite3.Connection) -> object:
        left.append(connection.executemany("insert into a values (?)", [(1,), (2,)]))
        return left[0]

    assert await writer.run(insert) is None
    assert await writer.run(lambda open_: open_.execute("select count(*) from a").fetchone()) == (2,)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        left[0].fetchall()
    writer.close()
