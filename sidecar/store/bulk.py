"""Many rows in few statements: SQLite releases the interpreter's lock at every statement, not at every row.

A thread that writes row by row asks for that lock again after each of them, and beside a busy
event loop waits up to `sys.getswitchinterval()` for it: a thousand rows may take a second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Any

ROWS_PER_STATEMENT = (512, 64, 8, 1)
"""Few sizes, so that each statement is compiled once; 512 × 13 values are below SQLite's limit of 32,766."""


def execute_rows(
    connection: sqlite3.Connection, head: str, rows: Sequence[Sequence[Any]], tail: str = ""
) -> None:
    """Run `head values (…), (…) tail` for all rows, in order; every row has the same length.

    Raises: sqlite3.Error; the caller's transaction decides what of it stays.
    """
    start = 0
    while start < len(rows):
        n = next(size for size in ROWS_PER_STATEMENT if size <= len(rows) - start)
        row = f"({', '.join('?' * len(rows[start]))})"
        connection.execute(
            f"{head} values {', '.join([row] * n)} {tail}",
            list(chain.from_iterable(rows[start : start + n])),
        )
        start += n
