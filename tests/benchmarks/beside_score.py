"""What the same series cost elsewhere: river, statsmodels, and rules inside a real Prometheus."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from tests.integration.scenarios.peers import extreme
from tests.integration.scenarios.replay import Samples, write_blocks
from tests.integration.servers import Prometheus, stopping

STEP = 60
DAY_POINTS = 86400 // STEP
HISTORY_HOURS = 27
EVALUATION_SECONDS = 2
MEASURED_SECONDS, WARM_SECONDS = 12.0, 4.0


def river_seconds(n_points: int) -> float:
    """Seconds a point of half-space trees, scoring and then learning; one series, one feature."""
    from river import anomaly

    values = np.clip(np.random.default_rng(7).normal(0.5, 0.1, n_points), 0, 1).tolist()
    model = anomaly.HalfSpaceTrees(seed=7)
    for value in values[:300]:
        model.learn_one({"value": value})
    begun = time.perf_counter()
    for value in values:
        model.score_one({"value": value})
        model.learn_one({"value": value})
    return (time.perf_counter() - begun) / n_points


def statsmodels_seconds(n_series: int) -> float:
    """Seconds a point of Holt-Winters by statsmodels, two weeks of hours fitted anew once a day."""
    from statsmodels.tsa.holtwinters import ExponentialSmoothing

    rng = np.random.default_rng(8)
    season = 10 * np.sin(2 * np.pi * np.arange(336) / 24)
    begun = time.perf_counter()
    for _ in range(n_series):
        series = 50 + season + rng.normal(0, 2, 336)
        ExponentialSmoothing(
            series, trend="add", seasonal="add", seasonal_periods=24, initialization_method="estimated"
        ).fit()
    return (time.perf_counter() - begun) / n_series / DAY_POINTS


def prometheus_seconds(n_series: int) -> float:
    """CPU seconds a series and evaluation of the adaptive bands of promql-anomaly-detection, in a Prometheus.

    Its rules that follow each minute, on 27 hours of history; less what the server needs without rules.
    """
    rng = np.random.default_rng(9)
    end = int(time.time()) // STEP * STEP
    seconds = (end - STEP * np.arange(HISTORY_HOURS * 60, -10, -1)).astype(np.float64)
    history: list[Samples] = [
        ({"instance": str(at)}, seconds, 50 + rng.normal(0, 2, len(seconds))) for at in range(n_series)
    ]
    rules = {
        "bench:select": "bench_load > 0",
        "bench:mean": "avg_over_time(bench_load[1h])",
        "bench:burst": "stddev_over_time(bench_load[1h]) > 0.5 * avg_over_time(bench_load[1h])",
        "bench:stddev": "avg_over_time(bench_burst[26h])",
        "bench:upper": extreme("max", "instance", "bench:mean + 2 * bench:stddev", "1.5 * bench:mean"),
        "bench:lower": extreme("min", "instance", "bench:mean - 2 * bench:stddev", "0.5 * bench:mean"),
    }
    with tempfile.TemporaryDirectory() as directory:
        prometheus = Prometheus(Path(directory) / "p", evaluation_interval=f"{EVALUATION_SECONDS}s")
        write_blocks(prometheus.data, {"bench_load": history, "bench_burst": history})
        with stopping(prometheus):
            prometheus.start()
            idle = _cpu_share(prometheus)
            group = {
                "name": "bench",
                "rules": [{"record": name, "expr": expr} for name, expr in rules.items()],
            }
            (prometheus.rules / "bench.yaml").write_text(yaml.safe_dump({"groups": [group]}))
            prometheus.stop()
            prometheus.start()
            busy = _cpu_share(prometheus)
    return (busy - idle) * EVALUATION_SECONDS / n_series


def _cpu_share(prometheus: Prometheus) -> float:
    """CPU seconds a second of the server, once it is warm."""
    time.sleep(WARM_SECONDS)
    before, begun = _cpu_seconds(prometheus), time.monotonic()
    time.sleep(MEASURED_SECONDS)
    return (_cpu_seconds(prometheus) - before) / (time.monotonic() - begun)


def _cpu_seconds(prometheus: Prometheus) -> float:
    assert prometheus.process is not None
    fields = Path(f"/proc/{prometheus.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
