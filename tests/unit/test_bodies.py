"""A body that comes in pieces is read whole, and no further than its bound."""

from __future__ import annotations

import pytest

from sidecar.bodies import read_up_to


class Pieces:
    """A body as a network brings it."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def read(self, n: int = -1) -> bytes:
        piece = self._pieces.pop(0) if self._pieces else b""
        if len(piece) > n:
            self._pieces.insert(0, piece[n:])
        return piece[:n]


@pytest.mark.parametrize(
    ("pieces", "most", "read"),
    [
        pytest.param([], 9, b"", id="nothing"),
        pytest.param([b"abc"], 9, b"abc", id="one piece"),
        pytest.param([b"ab", b"c", b"def"], 9, b"abcdef", id="some"),
        pytest.param([b"ab", b"c", b"def"], 4, b"abcd", id="the bound, inside a piece"),
        pytest.param([b"ab", b"c", b"def"], 3, b"abc", id="the bound, between two"),
    ],
)
async def test_read_up_to(pieces: list[bytes], most: int, read: bytes) -> None:
    assert await read_up_to(Pieces(*pieces), most) == read
