"""The live stream: the event bus as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec
from aiohttp import web

from sidecar.events import EventBus

KEEPALIVE_SECONDS = 15.0
MAX_READERS = 64


class EventStream:
    """`/api/v1/stream`: one event a message, as JSON with its kind.

    Messages have no SSE event name, because a browser's EventSource hands
    named events only to who knows their names beforehand.
    """

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._readers: set[asyncio.Task[Any]] = set()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Stream until the reader goes or the server stops."""
        if len(self._readers) >= MAX_READERS:
            return web.Response(status=503, text=f"{MAX_READERS} readers already\n")
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        task = asyncio.current_task()
        assert task is not None
        self._readers.add(task)
        try:
            await response.prepare(request)
            await self._send(response)
        finally:
            self._readers.discard(task)
        return response

    async def close(self, _: web.Application | None = None) -> None:
        """End every stream: a page that stays open must not hold up the process' stop."""
        for task in self._readers:
            task.cancel()

    async def _send(self, response: web.StreamResponse) -> None:
        with self._bus.subscribe() as subscription:
            events = aiter(subscription)
            while True:
                try:
                    async with asyncio.timeout(KEEPALIVE_SECONDS):
                        event = await anext(events)
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    events = aiter(subscription)
                    message = b": still here\n\n"
                else:
                    body = msgspec.json.encode(event)
                    message = b"data: " + body + b"\n\n"
                with contextlib.suppress(ConnectionResetError):
                    await response.write(message)
                    continue
                return
