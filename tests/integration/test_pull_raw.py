"""Raw history is what range queries say, where servers make that hard; and a real Alertmanager is read."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import AlertmanagerConfig, SourceConfig
from sidecar.prometheus.alertmanager import AlertmanagerClient
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.series import LabelSet, SeriesBatch
from tests.integration.servers import Alertmanager, Prometheus, stopping, wait_until

pytestmark = pytest.mark.integration

END = int(time.time()) // 7200 * 7200 - 7200
START = END - 3600
SPACING = 150


def opened(server: Prometheus, **settings: Any) -> PrometheusClient:
    config = SourceConfig(url=server.url, retries=0, **settings)
    return PrometheusClient(config, metrics=PullMetrics(CollectorRegistry()))


def by_labels(batch: SeriesBatch) -> dict[LabelSet, list[float]]:
    return dict(zip(batch.labels, batch.values.tolist(), strict=True))


async def both(client: PrometheusClient, expr: str, **asked: int) -> tuple[SeriesBatch, SeriesBatch]:
    by_json = await client.range(expr, name="q", max_series=10, **asked)
    by_read = await client.history(expr, name="q", max_series=10, **asked)
    assert set(by_json.labels) == set(by_read.labels)
    for labels, values in by_labels(by_json).items():
        np.testing.assert_array_equal(by_labels(by_read)[labels], values)
    return by_json, by_read


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A Prometheus with an external label, a short lookback, and series that have that label themselves."""
    server = Prometheus(tmp_path_factory.mktemp("prometheus"), flags=["--query.lookback-delta=1m"])
    document = json.loads(server.config.read_text())
    document["global"]["external_labels"] = {"replica": "a"}
    server.config.write_text(json.dumps(document))
    lines = []
    for metric, labels in (
        ("plain", 'i="1"'),
        ("plain", 'i="2",replica="b"'),
        ("clash", 'i="1"'),
        ("clash", 'i="1",replica="a"'),
    ):
        lines += [f"{metric}{{{labels}}} {t % 7} {t}" for t in range(START, END, SPACING)]
    server.backfill("\n".join([*lines, "# EOF\n"]))
    with stopping(server):
        yield server.start()


@pytest.mark.parametrize(
    ("expr", "n_series", "raw"),
    [
        pytest.param("plain", 2, True, id="added labels are taken off"),
        pytest.param('plain{i="1"}', 1, True, id="matchers"),
        pytest.param('plain{replica="a"}', 0, False, id="a matcher on an external label"),
        pytest.param('plain{replica!="a"}', 2, False, id="its opposite"),
        pytest.param("clash", 2, False, id="a series with such a label of its own"),
    ],
)
async def test_external_labels_and_lookback(
    labelled: Prometheus, expr: str, n_series: int, raw: bool
) -> None:
    asked: list[str] = []
    async with opened(labelled) as client:
        remote_read = client.remote_read

        async def watched(*arguments: Any, **keywords: Any) -> SeriesBatch:
            asked.append(expr)
            return await remote_read(*arguments, **keywords)

        client.remote_read = watched  # type: ignore[method-assign]
        by_json, _ = await both(client, expr, start_ms=START * 1000, end_ms=(END - 1) * 1000, step_ms=30_000)
    assert by_json.n_series == n_series
    assert bool(asked) is raw
    # A minute of lookback over samples each 150 s: two or three of five grid points see one.
    if n_series:
        assert 0.3 < np.isfinite(by_json.values).mean() < 0.7


async def test_compressed_answers_say_the_same(labelled: Prometheus) -> None:
    async with opened(labelled, compression="gzip") as client:
        await both(client, "plain", start_ms=START * 1000, end_ms=END * 1000, step_ms=60_000)


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"ticks {time.time():.3f}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


async def test_a_target_that_went_away_ends_at_its_stale_marker(
    tmp_path: Path, keep: Callable[..., Any]
) -> None:
    page = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=page.serve_forever)
    thread.start()
    target = f"127.0.0.1:{page.server_address[1]}"
    scrape = [{"job_name": "ticks", "static_configs": [{"targets": [target]}]}]
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus", scrape=scrape))
    server.start()
    try:
        wait_until(
            lambda: float(server.query("count_over_time(ticks[1m])")[0]["value"][1]) >= 3, what="scrapes"
        )
    finally:
        page.shutdown()
        page.server_close()
        thread.join()
    wait_until(lambda: server.query("up") and not server.query("ticks"), what="the series is stale")
    now = int(time.time() * 1000)
    async with opened(server) as client:
        by_json, _ = await both(client, "ticks", start_ms=now - 60_000, end_ms=now + 2000, step_ms=250)
        assert client._terms is not None
    values = by_json.values[0]
    assert np.isfinite(values).sum() > 4
    assert np.isnan(values[-4:]).all(), "ended by the marker, long before the lookback of five minutes"


async def test_an_alertmanager_is_read(tmp_path: Path, keep: Callable[..., Any]) -> None:
    server: Alertmanager = keep(Alertmanager(tmp_path / "alertmanager", webhook="http://127.0.0.1:9/"))
    server.start()
    server.post([{"labels": {"alertname": "Slow", "service": "cdn"}}])
    metrics = PullMetrics(CollectorRegistry())
    async with AlertmanagerClient(AlertmanagerConfig(url=server.url), metrics=metrics) as client:
        assert (await client.status())["versionInfo"]["version"]
        (alert,) = await client.alerts()
        assert alert["labels"] == {"alertname": "Slow", "service": "cdn"}
        assert await client.silences() == []
