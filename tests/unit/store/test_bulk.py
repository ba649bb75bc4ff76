"""Rows in few statements end as they would one by one."""

from __future__ import annotations

import sqlite3

import pytest

from sidecar.store.bulk import MOST_ROWS, execute_rows


@pytest.mark.parametrize("n_rows", [0, 1, 7, 9, 600, 1500])
def test_every_row_is_written_once_and_in_order(n_rows: int) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (k primary key, v)")
    rows = [(i % 1000, i) for i in range(n_rows)]
    tail = "on conflict (k) do update set v = excluded.v"
    execute_rows(connection, "insert into t (k, v)", rows, tail)
    assert dict(connection.execute("select k, v from t").fetchall()) == dict(rows), "the last of a key wins"
    connection.close()


def test_statements_are_few() -> None:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("create table t (k)")
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    execute_rows(connection, "insert into t", [(i,) for i in range(2 * MOST_ROWS + 3)])
    assert len(seen) == 4
    connection.close()
