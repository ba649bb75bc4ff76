"""A real Prometheus scrapes both endpoints; promtool has nothing to say about either."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporters.formats import MetricFormat, PronoiaFormat
from exporters.page import SyntheticPage
from exporters.scrape import ScrapeEndpoints
from sidecar.series import Evaluation, Forecast, LabelSet
from sidecar.telemetry import new_registry
from tests.integration.servers import Prometheus, binary, free_port, http, wait_until

pytestmark = pytest.mark.integration

LABELS = (
    LabelSet({"__name__": "up", "job": "shop", "instance": "10.0.0.1:80", "query": "theirs"}),
    LabelSet({"__name__": "up", "job": "shop", "instance": 'odd "\\\nü'}),
)


def evaluation(first: float, second: float) -> Evaluation:
    actual = np.array([first, second])
    forecast = Forecast(300.0, actual + 1, actual, actual + 2)
    return Evaluation(
        "shop", "default", 1, LABELS, actual, actual, actual - 1, actual + 1,
        np.array([0.5, np.nan]), np.zeros(2, dtype=np.int8), np.ones(2), (forecast,),
    )  # fmt: skip


class Served:
    """The scrape endpoints on a thread with its own event loop."""

    def __init__(self, formats: Sequence[MetricFormat] = (PronoiaFormat(),)) -> None:
        registry = new_registry()
        self.page = SyntheticPage(max_series=1000, registry=registry, formats=formats)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._endpoints = ScrapeEndpoints(self.page, registry)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Served:
        self._thread.start()
        assert self._started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        self._endpoints.add_routes(app.router)
        runner = web.AppRunner(app, shutdown_timeout=1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port).start())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


@pytest.fixture
def served() -> Iterator[Served]:
    with Served() as found:
        found.page.publish(evaluation(1.25, 7.0))
        yield found


def test_prometheus_reads_both_pages(served: Served, tmp_path: Path, keep: Callable[..., Any]) -> None:
    jobs = [
        {
            "job_name": path,
            "metrics_path": f"/{path}",
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{served.port}"]}],
        }
        for path in ("synthetic", "metrics")
    ]
    prometheus = keep(Prometheus(tmp_path / "prometheus", scrape=jobs))
    prometheus.start()

    def values(expr: str) -> dict[str, float]:
        return {one["metric"].get("instance", ""): float(one["value"][1]) for one in prometheus.query(expr)}

    both = {"10.0.0.1:80": 1.25, 'odd "\\\nü': 7.0}
    wait_until(lambda: values("pronoia_actual") == both, what="both series")
    wait_until(lambda: values('up{job=~"synthetic|metrics"}'), what="targets")
    assert set(values('up{job=~"synthetic|metrics"}').values()) == {1.0}
    assert values('pronoia_actual{query="shop",exported_query="theirs",job="shop"}') == {"10.0.0.1:80": 1.25}
    assert values("pronoia_anomaly_score") == {"10.0.0.1:80": 0.5}
    assert values('pronoia_forecast_upper{horizon="5m"}') == {"10.0.0.1:80": 3.25, 'odd "\\\nü': 9.0}
    # The families join one to one, as a rule over live thresholds needs it.
    assert values("pronoia_actual > bool pronoia_expected_upper") == {"10.0.0.1:80": 0.0, 'odd "\\\nü': 0.0}
    wait_until(lambda: prometheus.query("pronoia_export_series == 15"), what="self-metrics")

    served.page.publish(evaluation(2.5, np.nan))
    # Far sooner than the five minutes of lookback: the scrape that misses a series marks it stale.
    wait_until(
        lambda: values("pronoia_actual") == {"10.0.0.1:80": 2.5}, timeout=10, what="the series is gone"
    )
    served.page.retire("shop")
    wait_until(lambda: not prometheus.query('{__name__=~"pronoia_(actual|expected|forecast).*"}'),
               timeout=10, what="the query is gone")  # fmt: skip
    wait_until(lambda: prometheus.query('up{job="synthetic"} == 1'), what="an empty page is a good page")


@pytest.mark.parametrize("path", ["/synthetic", "/metrics"])
def test_promtool_and_both_parsers_accept(served: Served, path: str) -> None:
    status, page = http(served.url + path)
    assert status == 200
    assert list(parse_text(page.decode()))
    checked = subprocess.run(
        [binary("promtool"), "check", "metrics"], input=page, capture_output=True, timeout=20, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
    accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
    status, page = http(served.url + path, headers=accept)
    assert status == 200
    assert page.endswith(b"# EOF\n")
    assert list(parse_openmetrics(page.decode()))


def test_head_and_gzip(served: Served) -> None:
    import gzip

    status, body = http(served.url + "/synthetic", method="HEAD")
    assert (status, body) == (200, b"")
    status, body = http(served.url + "/synthetic", headers={"Accept-Encoding": "gzip"})
    assert gzip.decompress(body) == http(served.url + "/synthetic")[1]
