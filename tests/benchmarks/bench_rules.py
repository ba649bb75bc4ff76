"""The rules loop: back-tests of a month by the hundred, and what a generated alert costs Prometheus.

Beside the alert stands the way without pronoia: bands of the mean and deviation of the last day, asked
for at each evaluation; both on the same Prometheus, one after the other.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from rules.backtest.past import BackTester, Window
from rules.read import read_files
from sidecar.cli.rules_example import RULES, make_history
from sidecar.cli.rules_temporary import temporary_prometheus
from sidecar.config.model import SourceConfig
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from tests.benchmarks.table import Row, show
from tests.integration.servers import Prometheus, binary, stopping

N_RULES, DAYS = 100, 30
BUDGET_SECONDS = 300.0

ALERT = """(load)
> on (pod) group_left () (
  max by (pod) (pronoia_expected_upper{query="load"})
    or max by (pod) (pronoia:expected_upper:literal{query="load"})
)"""
BANDS = ("avg_over_time(load[1d])", "stddev_over_time(load[1d])")


def run(quick: bool = False) -> list[Row]:
    """Rows of the table."""
    return [
        asyncio.run(_backtests(n_rules=20 if quick else N_RULES, days=7 if quick else DAYS)),
        *(_evaluation(n) for n in ((1_000,) if quick else (1_000, 10_000))),
    ]


async def _backtests(n_rules: int, days: int) -> Row:
    history = make_history()
    async with temporary_prometheus(history.openmetrics()) as url:
        source = SourceConfig(url=url)
        async with PrometheusClient(source, metrics=PullMetrics(CollectorRegistry())) as client:
            shipped = read_files([RULES])
            # Other durations make other rules; what they ask for is the same.
            rules = [
                replace(shipped[n % len(shipped)], for_seconds=60.0 * (n // len(shipped)))
                for n in range(n_rules)
            ]
            end = int(history.times[-1] * 1000)
            began = time.monotonic()
            pasts = await BackTester(client).all(rules, Window(end - days * 86_400_000, end, 60_000))
            seconds = time.monotonic() - began
    n_series = sum(len(past.labels) for past in pasts)
    return Row(
        f"back-test of {n_rules} rules, {days} days at 1m, {n_series} series",
        f"{seconds:.1f} s",
        "",
        None,
        f"{BUDGET_SECONDS:.0f} s",
        seconds < BUDGET_SECONDS and not any(past.error for past in pasts),
    )


def _evaluation(n_series: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="pronoia-bench-") as name:
        server = Prometheus(Path(name) / "prometheus")
        _fill(server, n_series)
        with stopping(server):
            server.start()
            ours, theirs = asyncio.run(_timed(server.url))
    return Row(
        f"one evaluation of an anomaly alert, {n_series} series",
        f"{ours * 1000:.0f} ms",
        f"{theirs * 1000:.0f} ms (bands of the last day)",
        theirs / ours,
        "cheaper",
        ours < theirs,
    )


def _fill(server: Prometheus, n_series: int) -> None:
    """A day of five-minute history of the series, and the newest value of what pronoia exports of it."""
    end = int(time.time()) // 60 * 60
    times = np.arange(end - 86_400, end + 1, 300).tolist()
    page = server.directory / "bench.om"
    with page.open("w") as sink:
        sink.write("# TYPE load gauge\n")
        for n in range(n_series):
            sink.writelines(f'load{{pod="p{n}"}} {10 + (at // 300 * 7 + n) % 13} {at}\n' for at in times)
        sink.write("# TYPE pronoia_expected_upper gauge\n")
        sink.writelines(
            f'pronoia_expected_upper{{pod="p{n}",query="load"}} 30 {end}\n' for n in range(n_series)
        )
        sink.write("# EOF\n")
    subprocess.run(
        [
            *(binary("promtool"), "tsdb", "create-blocks-from", "--max-block-duration=1458h", "--quiet"),
            *("openmetrics", str(page), str(server.data)),
        ],
        check=True,
    )
    page.unlink()


async def _timed(url: str) -> tuple[float, float]:
    """Seconds of one evaluation of the alert, and of the bands that it stands beside."""
    async with PrometheusClient(SourceConfig(url=url), metrics=PullMetrics(CollectorRegistry())) as client:
        at = int(time.time() * 1000)

        async def best(*exprs: str) -> float:
            seconds = []
            for _ in range(5):
                began = time.monotonic()
                for expr in exprs:
                    await client.instant(f"count({expr})", at_ms=at, name="bench", max_series=10)
                seconds.append(time.monotonic() - began)
            return min(seconds)

        return await best(ALERT), await best(*BANDS)


if __name__ == "__main__":
    show("rules", run())
