"""Answers without end, from a real server: refused within their bound, told of, and not asked for again."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import google_crc32c
import numpy as np
import pytest
from aiohttp import web

from sidecar.errors import PullError
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.raw_terms import RawTerms
from tests.unit.prometheus.served import ask, client

BOUND = 1 << 20
BUFFERED = 48 << 20
"""What the sockets of both sides and the reader's buffer may hold beyond what was read."""

START = b'{"status":"success","data":{"resultType":"vector","result":['
SERIES = b'{"metric":{"a":"b"},"value":[60,"1"]},' * 2000


def frame(data: bytes) -> bytes:
    """One frame of streamed remote read; `data` is shorter than 128 bytes."""
    return bytes([len(data)]) + google_crc32c.value(data).to_bytes(4, "big") + data


class Endless:
    """Sends one piece after another until nobody takes them."""

    def __init__(self, piece: bytes, headers: dict[str, str], first: bytes = b"") -> None:
        self._piece = piece
        self._headers = headers
        self._first = first
        self.asked = 0
        self.sent_bytes = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        response = web.StreamResponse(headers=self._headers)
        await response.prepare(request)
        await response.write(self._first)
        while True:
            await response.write(self._piece)
            self.sent_bytes += len(self._piece)


@asynccontextmanager
async def asking(server: Endless) -> AsyncIterator[tuple[PrometheusClient, Callable[[str], Any]]]:
    async with client(server.handle, max_answer_bytes=BOUND, retries=3, timeout=60.0) as (opened, registry):
        yield opened, lambda name: registry.get_sample_value(name, {"reason": "too_large"})


@pytest.mark.parametrize(
    ("piece", "headers"),
    [
        pytest.param(SERIES, {}, id="in pieces"),
        pytest.param(SERIES, {"Content-Length": str(1 << 40)}, id="told beforehand"),
        # One piece unpacks to three times the bound.
        pytest.param(gzip.compress(SERIES * 42), {"Content-Encoding": "gzip"}, id="packed"),
    ],
)
async def test_an_endless_answer_is_refused_in_words(piece: bytes, headers: dict[str, str]) -> None:
    server = Endless(piece, headers, first=b"" if "Content-Encoding" in headers else START)
    async with asking(server) as (opened, counted):
        with pytest.raises(PullError) as caught:
            await ask(opened)
        assert counted("pronoia_pull_errors_total") == 1
    assert caught.value.reason == "too_large"
    assert not caught.value.retryable
    assert str(caught.value).endswith(
        "/api/v1/query: the answer is larger than 1048576 bytes; "
        "ask for fewer series or a longer step, or raise prometheus.max_answer_bytes"
    )
    assert server.asked == 1
    assert server.sent_bytes < BUFFERED


async def test_what_is_told_to_be_too_long_is_not_read() -> None:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=b" " * (BOUND + 1))

    async with client(handler, max_answer_bytes=BOUND) as (opened, registry):
        with pytest.raises(PullError, match="larger than 1048576 bytes"):
            await ask(opened)
        assert registry.get_sample_value("pronoia_pull_received_bytes_total") == 0


async def test_an_answer_of_the_bound_is_taken() -> None:
    body = START.rstrip(b"[") + b"[]}}"

    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body + b" " * (BOUND - len(body)))

    async with client(handler, max_answer_bytes=BOUND) as (opened, _):
        assert (await ask(opened)).n_series == 0


async def test_endless_remote_read_is_refused() -> None:
    empty = frame(b"\x10\x00") * 1000  # A query's index and no series.
    server = Endless(empty, {"Content-Type": "application/x-streamed-protobuf"})
    async with asking(server) as (opened, counted):
        terms = RawTerms(external={}, lookback_ms=300_000)
        with pytest.raises(PullError, match="/api/v1/read: the answer is larger"):
            await opened.remote_read(
                [("__name__", "=", "up")], np.array([60_000]), terms, name="q", max_series=10
            )
        assert counted("pronoia_pull_errors_total") == 1
    assert server.sent_bytes < BUFFERED
