"""Hands a large body out in pieces, so that readers that are slow, or never read, share one copy of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import web

PIECE_BYTES = 256 * 1024
"""What a reader may have waiting in memory of its own."""

SEND_SECONDS = 120.0
"""Longer than scrapes last; who reads more slowly would hold a page that was replaced long ago."""


async def send(
    request: web.Request, body: bytes, headers: Mapping[str, str], *, within_seconds: float = SEND_SECONDS
) -> web.StreamResponse:
    """Answer with the body; a reader that has not taken all of it in time is hung up on.

    Written at once, each reader's connection would copy what it has not read yet, which is all of a
    page for as long as it does not read.
    """
    if len(body) <= PIECE_BYTES or request.method == "HEAD":
        return web.Response(body=body, headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = len(body)
    await response.prepare(request)
    left = memoryview(body)
    try:
        async with asyncio.timeout(within_seconds):
            while left:
                await response.write(left[:PIECE_BYTES])
                left = left[PIECE_BYTES:]
            await response.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        pass  # It hung up, as a scraper does at its own time limit.
    return response
