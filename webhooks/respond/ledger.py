"""Responses and timelines on their way to the store: within a second, in one transaction, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from sidecar.background import Background
from sidecar.errors import StoreError
from sidecar.records import Response, TimelineEntry
from sidecar.telemetry import get_logger
from webhooks.respond.spare import Spared, SpareFile

FLUSH_SECONDS = 1.0
MAX_WAITING = 10_000
"""Entries of timelines that wait for a store that does not answer; older ones give way."""


class Written(Protocol):
    """Where they are written."""

    async def put_responses(
        self, responses: Sequence[Response], entries: Sequence[TimelineEntry] = ()
    ) -> None:
        """Responses as they now are and new entries, in one transaction."""
        ...


class Ledger:
    """Writes what is left with it.

    `is_newest`: whether a response is still how things stand. `written`: called when something was
    stored. `spare`: takes at the end what the store does not.
    """

    def __init__(
        self,
        store: Written,
        *,
        is_newest: Callable[[Response], bool],
        written: Callable[[], None],
        spare: SpareFile | None = None,
    ) -> None:
        self._store = store
        self._is_newest = is_newest
        self._written = written
        self._spare = spare
        self._responses: dict[str, Response] = {}
        self._entries: list[TimelineEntry] = []
        self._writing: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._task = Background("desk")
        self._log = get_logger("desk")

    async def open(self) -> None:
        """Store what an earlier process could not; where that fails it waits for the next start."""
        waiting = await asyncio.to_thread(self._spare.get) if self._spare is not None else None
        if self._spare is None or waiting is None:
            return
        try:
            await self._store.put_responses(waiting.responses, waiting.entries)
            await asyncio.to_thread(self._spare.clear)
        except (StoreError, OSError) as error:
            self._log.warning("what waits of timelines is not stored", err=str(error))

    def start(self) -> None:
        """Begin to write."""
        self._task.start(self._run())

    async def stop(self) -> None:
        """Write what waits, or put it aside; end."""
        await self._task.stop()
        try:
            while self._entries or self._responses or self._writing is not None:
                await self._flush()
        except StoreError as error:
            await self._put_aside(error)

    def keep(self, response: Response) -> None:
        """Have a response written, in place of what waits of it."""
        self._responses[response.incident_id] = response
        self._wake.set()

    def add(self, entry: TimelineEntry) -> None:
        """Have something put on a timeline."""
        self._entries.append(entry)
        del self._entries[:-MAX_WAITING]
        self._wake.set()

    def holds(self, incident_id: str) -> bool:
        """Whether a response waits."""
        return incident_id in self._responses

    async def put(self, response: Response, entry: TimelineEntry) -> None:
        """Write these at once; durable when it returns. Raises: StoreError."""
        # What waits of it is in this one, and must not be written after it.
        waiting = self._responses.pop(response.incident_id, None)
        try:
            await self._store.put_responses([response], [entry])
        except BaseException:
            if waiting is not None:
                self._responses.setdefault(response.incident_id, waiting)
            raise

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._flush()
            except StoreError as error:
                self._log.warning("timelines not stored, will try again", err=str(error))
                self._wake.set()
            except Exception:
                # The loop's edge: what people do from now on must be kept, whatever could not be.
                self._log.exception("storing timelines broke off")
            await asyncio.sleep(FLUSH_SECONDS)

    async def _flush(self) -> None:
        """Write what waits. Once begun that goes on when its caller ends: it would be written twice.

        Raises: StoreError.
        """
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="desk-write")
        try:
            await asyncio.shield(self._writing)
        finally:
            if self._writing.done():
                self._writing = None

    async def _write(self) -> None:
        responses, self._responses = self._responses, {}
        entries, self._entries = self._entries, []
        if not responses and not entries:
            return
        try:
            await self._store.put_responses(list(responses.values()), entries)
        except BaseException:
            newest = {key: one for key, one in responses.items() if self._is_newest(one)}
            self._responses = {**newest, **self._responses}
            self._entries = [*entries, *self._entries][-MAX_WAITING:]
            raise
        self._written()

    async def _put_aside(self, error: StoreError) -> None:
        """Keep what the store does not take, at the end, in a file of its own."""
        waiting = Spared(list(self._responses.values()), self._entries)
        n_entries = len(self._entries)
        try:
            if self._spare is None:
                raise OSError("there is no place for it")
            await asyncio.to_thread(self._spare.put, waiting)
        except OSError as trouble:
            self._log.error("the newest of the timelines is lost", n=n_entries, err=f"{error}; {trouble}")
        else:
            self._log.warning("the newest of the timelines waits beside the database", n=n_entries)
