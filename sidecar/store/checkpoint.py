"""Carries the log's pages into the database on a thread of its own, so that no commit waits for that."""

from __future__ import annotations

import sqlite3
import threading

ROWS = 8_000
"""Changed rows after which the log is carried over: some megabytes, as pages go."""

COMMITS = 1_000
"""The same for small commits, each of which writes several whole pages."""


class Checkpointer:
    """Checkpoints beside the writer, whose commits go on meanwhile.

    What they add keeps the log from beginning anew; the writer's own automatic checkpoint, at a longer
    log, ends that: it finds nearly all carried over already.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._due = threading.Event()
        self._closed = False
        self._rows = 0
        self._commits = 0
        self._thread = threading.Thread(target=self._run, name="pronoia-checkpoint", daemon=True)
        self._thread.start()

    def committed(self, n_rows: int) -> None:
        """Take in that a commit has changed so many rows."""
        self._rows += n_rows
        self._commits += 1
        if self._rows >= ROWS or self._commits >= COMMITS:
            self._rows = self._commits = 0
            self._due.set()

    def close(self) -> None:
        """End the thread and close its connection. Blocks."""
        self._closed = True
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._due.wait()
            self._due.clear()
            if self._closed:
                break
            try:
                self._connection.execute("pragma wal_checkpoint(passive)").fetchall()
            except sqlite3.Error:
                continue  # Nothing is lost: the writer meets the same trouble, and tells of it.
        self._connection.close()
