"""Bodies that were packed for their way, unpacked within a bound."""

from __future__ import annotations

import asyncio
import zlib

from aiohttp import web

from sidecar.bodies import read_up_to

GZIP = 16 + zlib.MAX_WBITS
PIECE_BYTES = 64 * 1024
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
    plain: list[bytes] = []
    at, piece_bytes = 0, len(body)
    for _ in range(MAX_MEMBERS):
        at, most_bytes = _unpack_member(body, at, plain, most_bytes, piece_bytes)
        if at == len(body):
            return b"".join(plain)
        piece_bytes = PIECE_BYTES
    raise ValueError(f"it is in more than {MAX_MEMBERS} pieces")


def _unpack_member(
    body: bytes, at: int, plain: list[bytes], most_bytes: int, piece_bytes: int
) -> tuple[int, int]:
    """Unpack the member that begins there: where the next one does, and how many bytes may still come.

    It is given a piece at a time: what lies behind a member's end is copied, and must not be all the rest
    where there are many.
    """
    unpacker = zlib.decompressobj(GZIP)
    while not unpacker.eof:
        piece = body[at : at + piece_bytes]
        if not piece:
            raise ValueError("it is cut short")
        try:
            unpacked = unpacker.decompress(piece, most_bytes + 1)
        except zlib.error as error:
            raise ValueError(f"it is no gzip: {error}") from error
        plain.append(unpacked)
        most_bytes -= len(unpacked)
        if most_bytes < 0:
            raise TooLarge
        at += len(piece) - len(unpacker.unused_data)
    return at, most_bytes
