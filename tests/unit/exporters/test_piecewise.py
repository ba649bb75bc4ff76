"""A large body comes whole to who reads it, and is held once for all who do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from exporters import piecewise

BODY = bytes(range(256)) * 65536
"""16 MB: more than the buffers of both ends hold."""


class Pages:
    """A server with one page, which knows what waits for its readers."""

    def __init__(self) -> None:
        self.within_seconds = 60.0
        self.sending: dict[asyncio.Transport, None] = {}
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def page(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.sending[request.transport] = None
        headers = {"Content-Type": "text/plain"}
        try:
            answer = await piecewise.send(request, BODY, headers, within_seconds=self.within_seconds)
        except BaseException as error:
            self.ended.set_exception(error)
            raise
        if not self.ended.done():
            self.ended.set_result(None)
        return answer

    def waiting_bytes(self) -> int:
        return max(transport.get_write_buffer_size() for transport in self.sending)


@pytest.fixture
async def served() -> AsyncIterator[tuple[Pages, int]]:
    """The pages, and the port that they are served on as the process serves them."""
    pages = Pages()
    app = web.Application()
    app.router.add_get("/", pages.page)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield pages, runner.addresses[0][1]
    await runner.cleanup()


async def test_who_reads_gets_it_whole_and_a_head_its_length(served: tuple[Pages, int]) -> None:
    _, port = served
    async with aiohttp.ClientSession() as session:
        for _ in range(2):  # The second over the same connection.
            async with session.get(f"http://127.0.0.1:{port}/") as answer:
                assert (answer.content_length, await answer.read()) == (len(BODY), BODY)
        async with session.head(f"http://127.0.0.1:{port}/") as answer:
            assert (answer.content_length, await answer.read()) == (len(BODY), b"")


async def test_who_does_not_read_holds_a_piece_and_is_hung_up_on(served: tuple[Pages, int]) -> None:
    pages, port = served
    pages.within_seconds = 0.3
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.1)
    assert 0 < pages.waiting_bytes() <= 2 * piecewise.PIECE_BYTES
    async with asyncio.timeout(20):
        await pages.ended
    assert all(transport.is_closing() for transport in pages.sending)
    writer.close()


async def test_who_hangs_up_is_no_fault(served: tuple[Pages, int]) -> None:
    pages, port = served
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.05)
    writer.transport.abort()
    async with asyncio.timeout(20):
        await pages.ended
