"""Packed bodies are unpacked within a bound, and in a time that grows with their length."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhooks.intake.packing import MAX_MEMBERS, PIECE_BYTES, TooLarge, unpack


class Counting:
    """An unpacker that adds up what it is given."""

    given = 0

    def __init__(self, *ways: Any) -> None:
        self._unpacker = _MAKE(*ways)

    def decompress(self, piece: bytes, most: int) -> bytes:
        Counting.given += len(piece)
        return self._unpacker.decompress(piece, most)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._unpacker, name)


_MAKE = zlib.decompressobj


def test_what_is_in_many_pieces_is_read_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    block = random.Random(7).randbytes(16_000)
    body = gzip.compress(block, 1) * MAX_MEMBERS
    monkeypatch.setattr(zlib, "decompressobj", Counting)
    assert unpack(body, "gzip", most_bytes=16_000 * MAX_MEMBERS) == block * MAX_MEMBERS
    assert Counting.given <= 2 * len(body) + MAX_MEMBERS * PIECE_BYTES


@given(
    st.lists(st.binary(max_size=3 * PIECE_BYTES) | st.just(b"x" * (4 * PIECE_BYTES)), min_size=1, max_size=6),
    st.integers(-1, 3),
)
def test_pieces_of_any_size_are_one_body_up_to_the_bound(blocks: list[bytes], room: int) -> None:
    body, plain = b"".join(gzip.compress(block, 1) for block in blocks), b"".join(blocks)
    if room < 0 and plain:
        with pytest.raises(TooLarge):
            unpack(body, "gzip", most_bytes=len(plain) + room)
    else:
        assert unpack(body, "gzip", most_bytes=len(plain) + max(room, 0)) == plain
    with pytest.raises(ValueError, match="cut short"):
        unpack(body[:-1], "gzip", most_bytes=len(plain))
