"""Pull and decode: our JSON and remote read beside prometheus-api-client, on one server, in one run."""

from __future__ import annotations

import asyncio
import tempfile
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from sidecar.config.model import SourceConfig
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from tests.benchmarks.table import Row, show
from tests.integration.servers import Prometheus, stopping

STEP = 15
N_STEPS = 480
JSON_BUDGET, READ_BUDGET = 5.0, 20.0
ROUNDS = 3


def run(quick: bool = False) -> list[Row]:
    """Fill a Prometheus, pull two hours of every series three ways."""
    n_series = 1000 if quick else 5000
    with tempfile.TemporaryDirectory() as directory:
        server = Prometheus(Path(directory) / "prometheus")
        end = int(time.time()) // 7200 * 7200 - 7200
        start = end - N_STEPS * STEP
        server.backfill(_history(n_series, start))
        with stopping(server):
            server.start()
            return asyncio.run(_measure(server, start, n_series))


def _history(n_series: int, start: int) -> str:
    rng = np.random.default_rng(1)
    values = rng.normal(50, 10, (N_STEPS, n_series)).round(3)
    names = [
        f'bench{{i="{i}",job="api",instance="10.0.0.{i % 250}:9100",zone="eu-1"}} ' for i in range(n_series)
    ]
    lines = ["# TYPE bench gauge"]
    # One series after another: the format wants a metric's samples together.
    for i, name in enumerate(names):
        lines += [f"{name}{values[t, i]} {start + t * STEP}" for t in range(N_STEPS)]
    return "\n".join([*lines, "# EOF\n"])


async def _measure(server: Prometheus, start: int, n_series: int) -> list[Row]:
    asked = {
        "start_ms": start * 1000,
        "end_ms": (start + (N_STEPS - 1) * STEP) * 1000,
        "step_ms": STEP * 1000,
        "name": "bench",
        "max_series": n_series,
    }
    config = SourceConfig(url=server.url, retries=0, timeout=120)
    times: dict[str, list[float]] = {"json": [], "read": [], "theirs": []}
    async with PrometheusClient(config, metrics=PullMetrics(CollectorRegistry())) as client:
        await client.range("bench", **asked)  # Compiles, fills caches.
        await client.history("bench", **asked)
        for _ in range(ROUNDS):
            began = time.perf_counter()
            by_json = await client.range("bench", **asked)
            times["json"].append(time.perf_counter() - began)
            began = time.perf_counter()
            by_read = await client.history("bench", **asked)
            times["read"].append(time.perf_counter() - began)
            times["theirs"].append(await asyncio.to_thread(_theirs, server.url, start, n_series))
    assert by_json.n_series == by_read.n_series == n_series
    n_samples = n_series * N_STEPS
    speeds = {name: n_samples / float(np.median(seconds)) for name, seconds in times.items()}
    theirs = f"{speeds['theirs'] / 1e6:.2f} M samples/s (prometheus-api-client)"
    return [
        Row(
            f"{what}, {n_series} series × {N_STEPS}",
            f"{speeds[name] / 1e6:.2f} M samples/s",
            theirs,
            speeds[name] / speeds["theirs"],
            f"≥ {budget:g}×",
            speeds[name] / speeds["theirs"] >= budget,
        )
        for name, what, budget in (
            ("json", "range query to arrays", JSON_BUDGET),
            ("read", "remote read to arrays", READ_BUDGET),
        )
    ]


def _theirs(url: str, start: int, n_series: int) -> float:
    """Seconds for the same samples; the frame is made of a tenth of the series, and scaled."""
    from prometheus_api_client import MetricRangeDataFrame, PrometheusConnect

    began = time.perf_counter()
    data = PrometheusConnect(url=url).custom_query_range(
        "bench",
        start_time=datetime.fromtimestamp(start, UTC),
        end_time=datetime.fromtimestamp(start + (N_STEPS - 1) * STEP, UTC),
        step=str(STEP),
    )
    pulled = time.perf_counter() - began
    part = data[: n_series // 10]
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        MetricRangeDataFrame(part)
    return pulled + (time.perf_counter() - began) * len(data) / len(part)


if __name__ == "__main__":
    show("pull", run())
