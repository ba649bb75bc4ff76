"""Samples written into a real Prometheus by remote write, such as its rules will come to."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

import cramjam

from tests.integration.servers import Server, http

Labels = tuple[tuple[str, str], ...]
"""Names and values, `__name__` among them."""

STALE = (0x7FF0_0000_0000_0002).to_bytes(8, "little")
"""The NaN that tells that a series has ended: Prometheus' model/value/value.go."""

_HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


def remote_write(server: Server, series: Mapping[Labels, Sequence[tuple[int, float | None]]]) -> None:
    """Write samples (ms, value) by series; None ends a series. Messages as in prompb/types.proto."""
    request = b"".join(_bytes(1, b"".join(_parts(labels, samples))) for labels, samples in series.items())
    status, body = http(
        f"{server.url}/api/v1/write", data=bytes(cramjam.snappy.compress_raw(request)), headers=_HEADERS
    )
    assert status == 204, body


def _parts(labels: Labels, samples: Sequence[tuple[int, float | None]]) -> Iterator[bytes]:
    for name, value in sorted(labels):
        yield _bytes(1, _bytes(1, name.encode()) + _bytes(2, value.encode()))
    for at_ms, number in samples:
        told = STALE if number is None else struct.pack("<d", number)
        yield _bytes(2, b"\x09" + told + b"\x10" + _varint(at_ms))


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
