"""HTTP bodies read to their end, within a bound."""

from __future__ import annotations

from typing import Protocol


class Stream(Protocol):
    """A body that arrives in pieces: aiohttp's `StreamReader`."""

    async def read(self, n: int = -1) -> bytes:
        """What has arrived, `n` bytes at most; empty only at the end."""
        ...


async def read_up_to(stream: Stream, most_bytes: int) -> bytes:
    """The body up to its end, or its first `most_bytes`.

    One `read(n)` gives what one packet brought, which is less than the body of most that is sent far.
    """
    pieces: list[bytes] = []
    left = most_bytes
    while left > 0 and (piece := await stream.read(left)):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)
