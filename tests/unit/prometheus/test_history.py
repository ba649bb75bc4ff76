"""History by remote read where the server offers it, and by JSON where it does not."""

from __future__ import annotations

from collections.abc import Callable

import cramjam
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from sidecar.config.model import SourceConfig
from sidecar.errors import PullError, TooManySeries
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.remote_read import _MESSAGES
from sidecar.prometheus.session import PullMetrics
from sidecar.series import SeriesBatch
from tests.unit.prometheus.served import client
from tests.unit.prometheus.test_remote_read import answer, frame


class Readable:
    """A Prometheus that tells its terms; `read` answers remote read, JSON is always there."""

    def __init__(self, read: Callable[[], web.StreamResponse]) -> None:
        self.down = False
        self.reads = 0
        self._read = read

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self.down:
            return web.Response(status=503)
        name = request.path.rpartition("/")[2]
        if name == "read":
            self.reads += 1
            return self._read()
        data: object = {
            "config": {"yaml": "global: {}"},
            "flags": {"query.lookback-delta": "5m"},
            "buildinfo": {"version": "2.42.0"},
            "query_range": {"resultType": "matrix", "result": [{"metric": {}, "values": [[60, "1"]]}]},
        }[name]
        return web.json_response({"status": "success", "data": data})


async def history_of(opened: PrometheusClient, start_ms: int = 0) -> SeriesBatch:
    return await opened.history(
        "up", start_ms=start_ms, end_ms=119_000, step_ms=60_000, name="q", max_series=10
    )


@pytest.mark.parametrize(
    ("status", "kind", "body", "asked"),
    [
        pytest.param(404, "text/plain", b"", 1, id="not there: never again"),
        pytest.param(200, "application/x-protobuf", b"", 1, id="does not stream: never again"),
        pytest.param(
            200, "application/x-streamed-protobuf", b"\x02\0\0\0\0ab", 1, id="wrong checksum: never again"
        ),
        pytest.param(503, "text/plain", b"", 2, id="busy: again next time"),
        pytest.param(200, "application/x-streamed-protobuf", b"\x09\0", 2, id="cut: again next time"),
    ],
)
async def test_history_falls_back_to_json(status: int, kind: str, body: bytes, asked: int) -> None:
    server = Readable(lambda: web.Response(status=status, body=body, headers={"Content-Type": kind}))
    async with client(server.handle) as (opened, _):
        for _ in range(2):
            batch = await history_of(opened)
            assert batch.values[0, 1] == 1.0
    assert server.reads == asked


async def test_too_many_series_are_not_asked_for_again_by_json() -> None:
    series = [({"__name__": "up", "pod": str(pod)}, [(0, b"")]) for pod in range(11)]
    stream = {"Content-Type": "application/x-streamed-protobuf"}
    server = Readable(lambda: web.Response(body=frame(answer(*series)), headers=stream))
    async with client(server.handle) as (opened, _):
        for _ in range(2):
            with pytest.raises(TooManySeries):
                await history_of(opened)
    assert server.reads == 2


async def test_a_server_that_was_down_is_read_raw_once_it_is_back() -> None:
    now = [0.0]
    stream = {"Content-Type": "application/x-streamed-protobuf"}
    server = Readable(lambda: web.Response(headers=stream))
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = SourceConfig(
        url=f"http://127.0.0.1:{runner.addresses[0][1]}", retries=0, breaker_failures=1, breaker_cooldown=10
    )
    metrics = PullMetrics(CollectorRegistry())
    async with PrometheusClient(config, metrics=metrics, monotonic=lambda: now[0]) as opened:
        server.down = True
        for reason in ("server_error", "circuit_open"):
            with pytest.raises(PullError) as caught:
                await history_of(opened)
            assert caught.value.reason == reason
        server.down = False
        now[0] = 11.0
        assert (await history_of(opened)).n_series == 0
    await runner.cleanup()
    assert server.reads == 1


async def test_a_range_without_a_grid_point_is_empty_without_asking() -> None:
    server = Readable(lambda: web.Response(status=500))
    async with client(server.handle) as (opened, _):
        assert (
            await opened.history("up", start_ms=1, end_ms=2, step_ms=60_000, name="q", max_series=1)
        ).values.shape == (0, 0)
    assert server.reads == 0


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/api/v1/status/flags", 400, id="VictoriaMetrics"),
        pytest.param("/api/v1/status/config", 404, id="Thanos"),
        pytest.param("/api/v1/status/config", 403, id="a proxy that hides it"),
    ],
)
async def test_what_a_server_need_not_offer_is_asked_for_once_and_is_no_error(path: str, status: int) -> None:
    """Every five minutes it was a `bad_query`, of which nobody could find the query."""
    server, seconds, asked = Readable(lambda: web.Response(status=500)), [0.0], []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        if request.path == path:
            return web.Response(status=status, text="unsupported path requested")
        return await server.handle(request)

    async with client(handle, monotonic=lambda: seconds[0]) as (opened, registry):
        for seconds[0] in (0.0, 3600.0):
            assert (await history_of(opened)).values[0, 1] == 1.0
    assert asked.count(path) == 1
    for reason in ("bad_query", "unauthorized"):
        assert registry.get_sample_value("pronoia_pull_errors_total", {"reason": reason}) == 0


async def test_raw_samples_are_asked_for_from_the_look_back_before_the_first_step() -> None:
    """Of a sample before it the first step has its value, and a series of then may have such a label."""
    asked: dict[str, tuple[float, float]] = {}

    async def handle(request: web.Request) -> web.StreamResponse:
        name = request.path.rpartition("/")[2]
        if name == "read":
            told = _MESSAGES["ReadRequest"]()
            told.ParseFromString(bytes(cramjam.snappy.decompress_raw(await request.read())))
            asked[name] = (told.queries[0].start / 1000, told.queries[0].end / 1000)
            return web.Response(headers={"Content-Type": "application/x-streamed-protobuf"})
        if name == "series":
            form = await request.post()
            asked[name] = (float(str(form["start"])), float(str(form["end"])))
        data: object = {
            "config": {"yaml": "global: {external_labels: {region: eu}}"},
            "flags": {"query.lookback-delta": "4m"},
            "buildinfo": {"version": "2.42.0"},
            "series": [],
        }[name]
        return web.json_response({"status": "success", "data": data})

    async with client(handle) as (opened, _):
        await opened.history("up", start_ms=590_000, end_ms=721_000, step_ms=60_000, name="q", max_series=10)
    assert asked == {"series": (360.0, 720.0), "read": (360.0, 720.0)}
