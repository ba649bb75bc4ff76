"""Bodies that were packed for their way, unpacked within a bound."""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import web

from sidecar.bodies import read_up_to

GZIP = 16 + zlib.MAX_WBITS
MAX_MEMBERS = 1000
"""A gzip may be several, one after the other; some programs pack in blocks."""


class TooLarge(ValueError):
    """It unpacks to more than may be."""


async def body_of(request: web.Request, *, most_bytes: int) -> bytes:
    """A request's body, unpacked where it is packed.

    Raises: TooLarge, ValueError.
    """
    body = await read_up_to(request.content, most_bytes + 1)
    if len(body) > most_bytes:
        raise TooLarge
    return await unpacked(body, request.headers.get("Content-Encoding", ""), most_bytes=most_bytes)


async def unpacked(body: bytes, encoding: str, *, most_bytes: int) -> bytes:
    """As `unpack`, off the event loop where something was done to the body; the header as it came.

    Raises: TooLarge, ValueError.
    """
    encoding = encoding.strip().lower()
    return await asyncio.to_thread(unpack, body, encoding, most_bytes=most_bytes) if encoding else body


def unpack(body: bytes, encoding: str, *, most_bytes: int) -> bytes:
    """What a body is by its `Content-Encoding`: gzip, identity, or not stated.

    Off the event loop, please: a thousandth of the bound may unpack to all of it.

    Raises: TooLarge; ValueError for another encoding, and for what is not whole.

    >>> unpack(b"plain", "", most_bytes=9)
    b'plain'
    """
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip"):
        raise ValueError(f"its encoding is {encoding[:20]!r}; send gzip, or nothing packed")
    plain, rest = b"", body
    for _ in range(MAX_MEMBERS):
        unpacker = zlib.decompressobj(GZIP)
        try:
            plain += unpacker.decompress(rest, most_bytes + 1 - len(plain))
        except zlib.error as error:
            raise ValueError(f"it is no gzip: {error}") from error
        if len(plain) > most_bytes:
            raise TooLarge
        if not unpacker.eof:
            raise ValueError("it is cut short")
        rest = unpacker.unused_data
        if not rest:
            return plain
    raise ValueError("it is in too many pieces")
