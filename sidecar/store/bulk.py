"""Many rows in few statements: SQLite releases the interpreter's lock at every statement, not at every row.

A thread that writes row by row asks for that lock again after each of them, and beside a busy
event loop waits up to `sys.getswitchinterval()` for it: a thousand rows may take a second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

MOST_ROWS = 512
"""A statement's rows are this or a smaller power of two, so that each is compiled once and a few do for
any number; 512 × 13 values are below SQLite's limit of 32,766."""


def execute_rows(
    connection: sqlite3.Connection, head: str, rows: Sequence[Sequence[Any]], tail: str = ""
) -> None:
    """Run `head values (…), (…) tail` for all rows, in order; every row has the same length.

    Raises: sqlite3.Error; the caller's transaction decides what of it stays.
    """
    start = 0
    while start < len(rows):
        n = min(1 << (len(rows) - start).bit_length() - 1, MOST_ROWS)
        connection.execute(
            _statement(head, len(rows[start]), n, tail), list(chain.from_iterable(rows[start : start + n]))
        )
        start += n


@lru_cache(maxsize=256)
def _statement(head: str, n_values: int, n_rows: int, tail: str) -> str:
    row = f"({', '.join('?' * n_values)})"
    return f"{head} values {', '.join([row] * n_rows)} {tail}"
