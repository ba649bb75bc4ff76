"""Long ranges: split on one grid, joined, and asked for in smaller parts where they are too much."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from aiohttp import web

from sidecar.errors import PullError, TooManySeries
from sidecar.prometheus.client import PrometheusClient, joined
from sidecar.prometheus.portions import LEAST_STEPS, MAX_STEPS
from sidecar.series import LabelSet, SeriesBatch
from tests.unit.prometheus.served import client


async def test_long_ranges_are_split_on_one_grid_and_joined() -> None:
    asked: list[tuple[float, float, float]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        start, end, step = (float(str(form[key])) for key in ("start", "end", "step"))
        asked.append((start, end, step))
        series = [{"metric": {"part": "all"}, "values": [[start, "1"], [end, "2"]]}]
        if len(asked) == 2:
            series.append({"metric": {"part": "second"}, "values": [[start, "5"]]})
        return web.Response(
            text=json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}})
        )

    async with client(handler) as (opened, _):
        batch = await opened.range(
            "up", start_ms=1, end_ms=15_000 * (MAX_STEPS + 5) + 7, step_ms=15_000, name="q", max_series=10
        )
    assert batch.n_steps == MAX_STEPS + 5
    assert (batch.timestamps % 15_000 == 0).all()
    assert (np.diff(batch.timestamps) == 15_000).all()
    assert all((end - start) / step + 1 <= MAX_STEPS for start, end, step in asked)
    assert len(asked) == 2
    assert batch.values[0, [0, MAX_STEPS - 1, MAX_STEPS, -1]].tolist() == [1.0, 2.0, 1.0, 2.0]
    assert np.isnan(batch.values[1, :MAX_STEPS]).all()
    assert batch.values[1, MAX_STEPS] == 5.0


class Limited:
    """Answers ranges of so many steps at most; all others with an error."""

    def __init__(self, most: int, status: int, text: str) -> None:
        self._most, self._status, self._text = most, status, text
        self.asked: list[int] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        start, end, step = (round(float(str(form[key]))) for key in ("start", "end", "step"))
        times = range(start, end + 1, step)
        self.asked.append(len(times))
        if len(times) > self._most:
            if not self._status:
                await asyncio.sleep(30)
            error = {"status": "error", "errorType": "execution", "error": self._text}
            return web.json_response(error, status=self._status)
        series = [{"metric": {}, "values": [[at, str(at)] for at in times]}]
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": series}})


async def ranged(opened: PrometheusClient, n_steps: int) -> SeriesBatch:
    end_ms = n_steps * 60_000
    return await opened.range("up", start_ms=60_000, end_ms=end_ms, step_ms=60_000, name="q", max_series=10)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        pytest.param(
            422, "query processing would load too many samples into memory in query execution", id="samples"
        ),
        pytest.param(503, "query timed out in expression evaluation", id="its time"),
        pytest.param(504, "Gateway Timeout", id="a proxy's time"),
        pytest.param(0, "", id="our time"),
        pytest.param(
            422,
            "the query time range exceeds the limit (query length: 336h, limit: 168h)",
            id="length in Mimir",
        ),
        pytest.param(
            422,
            "too many points for the given step=60000; cannot exceed 30000",
            id="points in VictoriaMetrics",
        ),
    ],
)
async def test_a_range_that_is_too_much_at_once_is_asked_for_in_smaller_parts(status: int, text: str) -> None:
    server = Limited(1500, status, text)
    async with client(server.handle, retries=3, timeout=0.5 if not status else 10.0) as (opened, _):
        batch = await ranged(opened, 5000)
        assert batch.values.tolist() == [[60.0 * n for n in range(1, 5001)]]
        assert server.asked == [5000, 2500, 1250, 1250, 1250, 1250], "what was too much is not tried again"
        server.asked.clear()
        await ranged(opened, 5000)
        assert server.asked == [2500, 1250, 1250, 1250, 1250], "remembered"


@pytest.mark.parametrize(
    ("status", "text", "asked"),
    [
        pytest.param(422, "too many samples", [400, 200, 100], id="whatever the length"),
        pytest.param(400, "parse error", [400], id="not for its length"),
        pytest.param(429, "the request rate exceeded the limit", [400], id="asked too often"),
    ],
)
async def test_there_is_an_end_to_asking_for_less(status: int, text: str, asked: list[int]) -> None:
    server = Limited(LEAST_STEPS - 1, status, text)
    async with client(server.handle) as (opened, _):
        with pytest.raises(PullError, match=text):
            await ranged(opened, 400)
    assert server.asked == asked


async def test_what_is_short_already_is_tried_again_after_its_time() -> None:
    server = Limited(LEAST_STEPS - 1, 503, "query timed out")
    async with client(server.handle, retries=1) as (opened, _):
        with pytest.raises(PullError, match="timed out"):
            await ranged(opened, LEAST_STEPS)
    assert server.asked == [LEAST_STEPS] * 2


def test_joined_parts_keep_the_bound() -> None:
    parts = [
        SeriesBatch("q", (LabelSet({"i": str(i)}),), np.array([i], dtype=np.int64), np.ones((1, 1)))
        for i in range(3)
    ]
    with pytest.raises(TooManySeries):
        joined(parts, "q", max_series=2)
