"""The one writer: a thread that commits all waiting work in one transaction.

One fsync a commit is what durability costs; sharing it among everybody who
waits is what makes it cheap (group commit).
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sidecar.errors import StoreError, StoreFull
from sidecar.store.checkpoint import Checkpointer
from sidecar.store.patience import Patience
from sidecar.store.presence import Presence

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
_Item = tuple[Work, "asyncio.Future[Any]", asyncio.AbstractEventLoop]

BATCH = 256


class StoreMetrics:
    """What the store tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.duration = Histogram(
            "pronoia_store_commit_duration_seconds",
            "Transactions, from begin to durable.",
            registry=registry,
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
        )
        self.commits = Counter(
            "pronoia_store_commits_total", "Transactions, by outcome.", ["result"], registry=registry
        )
        for result in ("ok", "error", "full"):
            self.commits.labels(result)
        self.queue = Gauge("pronoia_store_queue_length", "Writes that wait for a commit.", registry=registry)


class Writer:
    """Runs write work on its own thread and connection, many pieces a transaction."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        metrics: StoreMetrics,
        checkpointer: Checkpointer,
        presence: Presence,
        patience: Patience,
    ) -> None:
        self._connection = connection
        self._patience = patience
        self._presence = presence
        self._metrics = metrics
        self._checkpointer = checkpointer
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="pronoia-store", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The result of `work(connection)`, once it is durable.

        Raises: StoreFull where there is no room, StoreError for any other trouble
        of the database; nothing of the work was stored then.
        """
        if self._closed:
            raise StoreError("the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._queue.put((work, future, loop))
        self._metrics.queue.set(self._queue.qsize())
        return await future

    def close(self) -> None:
        """Commit what waits, then end the thread and close its connection. Blocks."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        ending = False
        while not ending:
            items: list[_Item] = []
            first = self._queue.get()
            while True:
                if first is None:
                    ending = True
                    break
                items.append(first)
                if len(items) >= BATCH:
                    break
                try:
                    first = self._queue.get_nowait()
                except queue.Empty:
                    break
            if items:
                self._commit(items)
                self._metrics.queue.set(self._queue.qsize())
        self._checkpointer.close()
        self._connection.close()

    def _commit(self, items: list[_Item]) -> None:
        began = time.perf_counter()
        try:
            results = self._transaction([work for work, _, _ in items])
        except Exception as error:
            if len(items) > 1 and not _is_of_the_disk(error):
                # One piece of work is at fault; the others must not fail with it.
                for item in items:
                    self._commit([item])
                return
            failure = _translated(error)
            self._metrics.commits.labels("full" if isinstance(failure, StoreFull) else "error").inc()
            for _, future, loop in items:
                _settle(loop, future, None, failure)
            return
        self._metrics.commits.labels("ok").inc()
        self._metrics.duration.observe(time.perf_counter() - began)
        for (_, future, loop), result in zip(items, results, strict=True):
            _settle(loop, future, result, None)

    def _transaction(self, works: list[Work]) -> list[Any]:
        connection = self._connection
        before = connection.total_changes
        self._presence.check()
        if self._patience.is_ending:
            connection.execute(f"pragma busy_timeout = {round(self._patience.seconds * 1000)}")
        try:
            connection.execute("begin immediate")
            results = [_without_cursor(work(connection)) for work in works]
            connection.execute("commit")
            self._checkpointer.committed(connection.total_changes - before)
        except BaseException:
            # SQLite rolls back by itself on some errors (full disk); doing it twice is an error.
            if connection.in_transaction:
                connection.execute("rollback")
            raise
        return results


def _without_cursor(result: Any) -> Any:
    """The result of a piece of work; None for the cursor that a statement leaves.

    It would be freed in the thread that waited, and reset the statement there: the same one, which is
    kept for use again, while it may be amid the next piece of work here. SQLite calls that misuse.
    """
    if isinstance(result, sqlite3.Cursor):
        result.close()
        return None
    return result


def _settle(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], result: Any, error: Exception | None
) -> None:
    def set_it() -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    try:
        loop.call_soon_threadsafe(set_it)
    except RuntimeError:
        return  # The loop is gone; so is whoever waited.


def _is_of_the_disk(error: Exception) -> bool:
    return isinstance(error, (sqlite3.OperationalError, StoreError))


def _translated(error: Exception) -> StoreError:
    if isinstance(error, StoreError):
        return error
    words = str(error) or type(error).__name__
    if isinstance(error, sqlite3.OperationalError) and ("full" in words or "disk I/O" in words):
        return StoreFull(f"no room to write: {words}")
    return StoreError(words)
