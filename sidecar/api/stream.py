"""The live stream: the event bus as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec
from aiohttp import web

from sidecar.events import EventBus

KEEPALIVE_SECONDS = 15.0
MAX_READERS = 64


class EventStream:
    """`/api/v1/stream`: one event a message, its kind as the SSE event name."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._n_readers = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Stream until the reader goes or the server stops."""
        if self._n_readers >= MAX_READERS:
            return web.Response(status=503, text=f"{MAX_READERS} readers already\n")
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        self._n_readers += 1
        try:
            await self._send(response)
        finally:
            self._n_readers -= 1
        return response

    async def _send(self, response: web.StreamResponse) -> None:
        with self._bus.subscribe() as subscription:
            events = aiter(subscription)
            while True:
                try:
                    async with asyncio.timeout(KEEPALIVE_SECONDS):
                        event = await anext(events)
                except TimeoutError:
                    events = aiter(subscription)
                    message = b": still here\n\n"
                else:
                    body = msgspec.json.encode(event)
                    message = b"event: " + event.kind.encode() + b"\ndata: " + body + b"\n\n"
                with contextlib.suppress(ConnectionResetError):
                    await response.write(message)
                    continue
                return
