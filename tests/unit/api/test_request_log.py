"""A port scanner fills no log with traces; a defect of ours keeps its trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from sidecar.api.request_log import request_logger


@asynccontextmanager
async def served() -> AsyncIterator[int]:
    async def read(request: web.Request) -> web.Response:
        await request.read()
        return web.Response()

    async def broken(_: web.Request) -> web.Response:
        raise ZeroDivisionError

    app = web.Application()
    app.router.add_post("/read", read)
    app.router.add_get("/broken", broken)
    runner = web.AppRunner(app, access_log=None, logger=request_logger())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("sent", "level", "words", "traced"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", "WARNING", "Host", False, id="no host"),
        pytest.param(
            b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
            "WARNING",
            "chunk size",
            False,
            id="no chunk",
        ),
        pytest.param(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n", "ERROR", "", True, id="our defect"),
    ],
)
async def test_log_of_a_request(
    caplog: pytest.LogCaptureFixture, sent: bytes, level: str, words: str, traced: bool
) -> None:
    async with served() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        async with asyncio.timeout(10):
            await reader.read(1)
        writer.close()
    assert [(one.levelname, one.exc_info is not None) for one in caplog.records] == [(level, traced)]
    assert words in caplog.records[0].getMessage()
