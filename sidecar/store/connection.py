"""Connections to the database file, with the pragmas that make it durable."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidecar.errors import StoreError
from sidecar.store.patience import USUAL_SECONDS

FILE = "pronoia.db"
LITTLE_ROOM = 1 << 20


def connect(
    path: Path, *, read_only: bool = False, busy_seconds: float = USUAL_SECONDS
) -> sqlite3.Connection:
    """A connection with our pragmas; transactions are begun by hand.

    It waits up to `busy_seconds` for what another process has locked.

    Raises: StoreError where the file cannot be opened as a database.
    """
    try:
        if read_only:
            address = f"{path.absolute().as_uri()}?mode=ro"  # A folder's name may hold a ?, # or %.
            connection = sqlite3.connect(address, uri=True, timeout=busy_seconds, check_same_thread=False)
        else:
            connection = sqlite3.connect(path, timeout=busy_seconds, check_same_thread=False)
            connection.execute("pragma auto_vacuum = incremental")
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")
            connection.execute("pragma journal_size_limit = 67108864")
            # 64 MB: the log is carried over beside the commits (see `checkpoint`), which hold up none then;
            # a restart reads that much of the log in a moment.
            connection.execute("pragma wal_autocheckpoint = 16000")
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {in_words(error, path)}") from error
    connection.isolation_level = None
    return connection


def in_words(error: sqlite3.Error, path: Path) -> str:
    """SQLite's words, and how little room there is: it calls that an I/O error at times."""
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError:
        return str(error)
    return f"{error} ({free} bytes are free there)" if free < LITTLE_ROOM else str(error)


@contextmanager
def reading(path: Path, *, busy_seconds: float = USUAL_SECONDS) -> Iterator[sqlite3.Connection]:
    """A read-only connection, closed afterwards."""
    connection = connect(path, read_only=True, busy_seconds=busy_seconds)
    try:
        yield connection
    finally:
        connection.close()
