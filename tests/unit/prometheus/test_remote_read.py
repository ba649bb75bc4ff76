"""Streamed frames and XOR chunks: what is encoded comes back bit-equal, what is damaged is an error."""

from __future__ import annotations

import math
import struct
from collections.abc import AsyncIterator, Sequence

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.errors import PullError, TooManySeries
from sidecar.prometheus.raw_terms import RawTerms
from sidecar.prometheus.remote_read import _MESSAGES, PADDING, Collected, frames
from sidecar.prometheus.xor import decode_onto_grid

STALE = struct.unpack(">d", struct.pack(">Q", 0x7FF0000000000002))[0]
LOOKBACK = 300_000
TERMS = RawTerms({}, LOOKBACK)
Samples = Sequence[tuple[int, float]]


def _bits_of(value: float) -> int:
    return int(struct.unpack(">Q", struct.pack(">d", value))[0])


def chunk(samples: Samples) -> bytes:
    """The samples as Prometheus' XOR chunk, written from the format's description."""
    bits = ""

    def varint(number: int) -> str:
        text = ""
        while True:
            number, low = number >> 7, number & 0x7F
            text += f"{low | (0x80 if number else 0):08b}"
            if not number:
                return text

    then = delta = before = 0
    leading = trailing = -1
    for i, (moment, value) in enumerate(samples):
        word = _bits_of(value)
        if i == 0:
            bits += varint(moment << 1 if moment >= 0 else ~(moment << 1)) + f"{word:064b}"
        else:
            if i == 1:
                delta = moment - then
                bits += varint(delta)
            else:
                change, delta = moment - then - delta, moment - then
                for mark, size in (("10", 14), ("110", 17), ("1110", 20)):
                    if -(1 << (size - 1)) + 1 <= change <= 1 << (size - 1):
                        bits += "0" if change == 0 else mark + f"{change & ((1 << size) - 1):0{size}b}"
                        break
                else:
                    bits += "1111" + f"{change & ((1 << 64) - 1):064b}"
            xor = word ^ before
            if xor == 0:
                bits += "0"
            else:
                head = min(64 - xor.bit_length(), 31)
                tail = (xor & -xor).bit_length() - 1
                if leading >= 0 and head >= leading and tail >= trailing:
                    size = 64 - leading - trailing
                    bits += "10" + f"{xor >> trailing:0{size}b}"
                else:
                    leading, trailing = head, tail
                    size = 64 - head - tail
                    bits += "11" + f"{head:05b}{size % 64:06b}" + f"{xor >> tail:0{size}b}"
        then, before = moment, word
    bits += "0" * (-len(bits) % 8)
    return struct.pack(">H", len(samples)) + bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


def on_grid(
    chunks: Sequence[bytes], times: Sequence[int], lookback: int = LOOKBACK
) -> tuple[int, list[float]]:
    ends = np.cumsum([len(piece) for piece in chunks], dtype=np.int64)
    firsts = np.array([0, *ends[:-1]], dtype=np.int64)
    out = np.full((1, len(times)), np.nan)
    n_samples, _ = decode_onto_grid(
        np.frombuffer(b"".join(chunks) + PADDING, dtype=np.uint8),
        firsts,
        ends,
        np.array([0, len(chunks)], dtype=np.int64),
        np.array(times, dtype=np.int64),
        lookback,
        out,
    )
    return int(n_samples), out[0].tolist()


def seen_by_queries(samples: Samples, times: Sequence[int], lookback: int = LOOKBACK) -> list[float]:
    """The definition: the newest sample at most the lookback old, unless it ends the series."""
    seen = []
    for at in times:
        past = [(moment, value) for moment, value in samples if at - lookback <= moment <= at]
        value = past[-1][1] if past else math.nan
        seen.append(math.nan if math.isinf(value) else value)
    return seen


steps = st.one_of(st.integers(1, 20_000), st.integers(1, 2**22), st.just(15_000), st.just(2**33))
numbers = st.one_of(st.floats(), st.just(STALE), st.integers(0, 1000).map(float))


@settings(max_examples=300, deadline=None)
@given(
    st.integers(-(2**40), 2**41),
    st.lists(st.tuples(steps, numbers), min_size=1, max_size=30),
    st.integers(1, 30),
    st.integers(1, 400_000),
)
def test_decoded_chunks_are_what_queries_see(
    start: int, moves: list[tuple[int, float]], cut: int, grid_step: int
) -> None:
    moment, samples = start, []
    for step, value in moves:
        moment += step
        samples.append((moment, value))
    chunks = [chunk(part) for part in (samples[:cut], samples[cut:]) if part]
    # Around every sample and its end of life, and a regular grid besides.
    times = sorted(
        {t for at, _ in samples for t in (at - 1, at, at + 1, at + LOOKBACK, at + LOOKBACK + 1)}
        | {start + i * grid_step for i in range(20)}
    )
    n_samples, seen = on_grid(chunks, times)
    assert n_samples == len(samples)
    np.testing.assert_array_equal(seen, seen_by_queries(samples, times))


@pytest.mark.parametrize("size", [14, 17, 20])
@pytest.mark.parametrize("over", [-1, 0, 1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_changes_of_pace_at_the_edge_of_each_width(size: int, over: int, sign: int) -> None:
    pace = 2_000_000
    last = 2 * pace + sign * ((1 << (size - 1)) + over)
    samples = [(0, 1.0), (pace, 2.0), (last, 3.0)]
    assert on_grid([chunk(samples)], [last - 1, last])[1][1] == 3.0
    np.testing.assert_array_equal(
        on_grid([chunk(samples)], [last - 1])[1], seen_by_queries(samples, [last - 1])
    )


def test_overlapping_chunks_do_not_go_back_in_time() -> None:
    one, two = [(0, 1.0), (15_000, 2.0)], [(0, 9.0), (15_000, 9.0), (30_000, 3.0)]
    assert on_grid([chunk(one), chunk(two)], [0, 15_000, 30_000]) == (3, [1.0, 2.0, 3.0])


def test_the_lookback_is_the_servers() -> None:
    piece = chunk([(0, 1.0)])
    assert on_grid([piece], [60_000, 60_001], 60_000)[1][0] == 1.0
    np.testing.assert_array_equal(on_grid([piece], [60_000], 59_999)[1], [np.nan])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_no_chunk_makes_the_decoder_leave_its_bytes(noise: bytes, cut: int) -> None:
    good = chunk([(i * 15_000, float(i)) for i in range(20)])
    for piece in (noise, good[:cut] + noise, good[:cut]):
        n_samples, _ = on_grid([piece], [0, 15_000])
        assert -1 <= n_samples <= 65_535


def frame(data: bytes) -> bytes:
    length = len(data)
    head = bytearray()
    while True:
        length, low = length >> 7, length & 0x7F
        head.append(low | (0x80 if length else 0))
        if not length:
            return bytes(head) + google_crc32c.value(data).to_bytes(4, "big") + data


async def _pieces(body: bytes, size: int) -> AsyncIterator[bytes]:
    for i in range(0, len(body), size):
        yield body[i : i + size]


async def _read(body: bytes, size: int = 7) -> list[bytes]:
    return [data async for data in frames(_pieces(body, size))]


@pytest.mark.parametrize("size", [1, 2, 5, 64, 10_000])
async def test_frames_come_out_whatever_the_pieces(size: int) -> None:
    sent = [b"", b"a", b"b" * 127, b"c" * 128, b"d" * 3000]
    assert await _read(b"".join(map(frame, sent)), size) == sent


@pytest.mark.parametrize(
    ("body", "words", "retryable"),
    [
        pytest.param(frame(b"abc")[:-1] + b"X", "checksum", False, id="a flipped byte"),
        pytest.param(frame(b"abc")[:-1], "ends inside", True, id="cut in the data"),
        pytest.param(frame(b"abc") + b"\x80", "ends inside", True, id="cut in the length"),
        pytest.param(b"\xff" * 11, "no varint", False, id="an endless length"),
        pytest.param(b"\xff\xff\xff\xff\x7f" + bytes(9), "a frame of", False, id="a frame beyond the bound"),
    ],
)
async def test_damaged_streams_are_errors(body: bytes, words: str, retryable: bool) -> None:
    with pytest.raises(PullError, match=words) as caught:
        await _read(body)
    assert caught.value.reason == "bad_response"
    assert caught.value.retryable is retryable


def answer(*series: tuple[dict[str, str], list[tuple[int, bytes]]]) -> bytes:
    message = _MESSAGES["ChunkedReadResponse"]()
    for labels, chunks in series:
        added = message.series.add()
        for name, value in labels.items():
            added.labels.add(name=name, value=value)
        for kind, data in chunks:
            added.chunks.add(type=kind, data=data)
    return bytes(message.SerializeToString())


def test_series_split_over_frames_are_one_and_external_labels_go() -> None:
    collected = Collected("q", 10, RawTerms({"replica": "a"}, LOOKBACK))
    collected.add(answer(({"i": "1", "replica": "a"}, [(1, chunk([(0, 1.0)]))])))
    collected.add(answer(({"i": "1", "replica": "a"}, [(1, chunk([(15_000, 2.0)]))])))
    collected.add(answer(({"i": "2", "replica": "b"}, [(1, chunk([(0, 3.0)]))])))
    decoded = collected.decode(np.array([0, 15_000], dtype=np.int64))
    assert [dict(labels) for labels in decoded.labels] == [{"i": "1"}, {"i": "2", "replica": "b"}]
    assert decoded.values.tolist() == [[1.0, 2.0], [3.0, 3.0]]
    assert decoded.n_samples == 3


def test_histogram_chunks_are_left_out_and_told() -> None:
    collected = Collected("q", 10, TERMS)
    collected.add(answer(({"i": "1"}, [(2, b"anything")])))
    decoded = collected.decode(np.array([0], dtype=np.int64))
    assert decoded.labels == ()
    assert decoded.n_histograms == 1
    assert "histogram" in decoded.warnings[0]


def test_the_bound_on_series_ends_the_stream_early() -> None:
    collected = Collected("q", 1, TERMS)
    with pytest.raises(TooManySeries, match="matched 2 series, its limit is 1"):
        collected.add(answer(({"i": "1"}, []), ({"i": "2"}, [])))


@pytest.mark.parametrize("piece", [b"", b"\x00", chunk([(0, 1.0), (1, 2.0)])[:-4]])
def test_a_damaged_chunk_is_a_pull_error(piece: bytes) -> None:
    collected = Collected("q", 1, TERMS)
    collected.add(answer(({"i": "1"}, [(1, piece)])))
    with pytest.raises(PullError, match="damaged chunk"):
        collected.decode(np.array([0], dtype=np.int64))


def test_a_frame_that_is_no_message_is_a_pull_error() -> None:
    with pytest.raises(PullError) as caught:
        Collected("q", 1, TERMS).add(b"\x0a\xff")
    assert caught.value.reason == "bad_response"
