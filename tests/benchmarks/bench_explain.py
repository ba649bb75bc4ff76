"""What explaining costs: an event from memory, one with label values, and the quality of the data."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from prometheus_client import CollectorRegistry

from sidecar.config.model import SourceConfig
from sidecar.engine.adwin import CONFIDENCE, AdaptiveWindow
from sidecar.loop.contributions import contributions
from sidecar.loop.explain import explain, explain_open
from sidecar.loop.journal import EVENTS_A_QUERY, Journal
from sidecar.loop.quality import QualityMetrics, QualitySink
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.series import Evaluation, FloatArray, LabelSet
from tests.benchmarks.table import Row, show
from tests.integration.servers import Prometheus, stopping

N_SERIES, N_COLUMNS, STEP_MS = 10_000, 50, 60_000
OPEN = 50
BUDGET_MS, BUDGET_WITH_QUERIES_SECONDS, BUDGET_REQUESTS = 100.0, 2.0, 11
BUDGET_SAMPLES = 1e6
BUDGET_DRIFT_MICROSECONDS = 5.0


def _evaluation(
    step: int, labels: tuple[LabelSet, ...], rng: np.random.Generator, broken: bool
) -> Evaluation:
    n = len(labels)
    actual, centre = rng.normal(50, 2, n), np.full(n, 50.0)
    score = np.abs(actual - centre) / 10
    rows = rng.choice(n, OPEN, replace=False) if broken else slice(0, 0)
    actual[rows] += 30
    score[rows] = rng.uniform(1.5, 4, OPEN) if broken else 0
    return Evaluation(
        "bench", "default", step * STEP_MS, labels, actual, centre, centre - 10, centre + 10, score,
        np.sign(actual - centre).astype(np.int8), np.ones(n),
    )  # fmt: skip


def _explained(n_series: int, directory: Path) -> tuple[float, float]:
    """Seconds that one open event takes, at worst, and fifty at once, with a past full of events."""
    rng = np.random.default_rng(3)
    labels = tuple(LabelSet({"job": "a", "pod": f"p{i}", "zone": f"z{i % 3}"}) for i in range(n_series))
    journal = Journal(directory)
    step = 0
    while step < 12 * EVENTS_A_QUERY / OPEN:
        step += 1
        journal.publish(_evaluation(step, labels, rng, broken=step % 10 == 0))
    taken = []
    for found in explain_open(journal, "bench", OPEN):
        began = time.perf_counter()
        explain(journal, "bench", found["fingerprint"])
        taken.append(time.perf_counter() - began)
    began = time.perf_counter()
    n_open = len(explain_open(journal, "bench", OPEN))
    assert n_open == OPEN
    return max(taken), time.perf_counter() - began


def _contributed(n_pods: int) -> tuple[float, int]:
    """Seconds (median of six) and requests of taking a sum over so many series apart."""
    now = int(time.time()) // 15 * 15
    lines = ["# TYPE load gauge"]
    for pod in range(n_pods):
        for at in range(now - 300, now + 1, 15):
            value = 10.0 if pod or at < now - 120 else 500.0
            labels = f'job="a",pod="p{pod}",node="n{pod % 40}",zone="z{pod % 3}",version="v{pod % 2}"'
            lines.append(f"load{{{labels}}} {value} {at}")
    with tempfile.TemporaryDirectory() as directory:
        prometheus = Prometheus(Path(directory))
        prometheus.backfill("\n".join([*lines, "# EOF\n"]))
        with stopping(prometheus):
            prometheus.start()
            return asyncio.run(_ask(prometheus.url, now * 1000))


async def _ask(url: str, now_ms: int) -> tuple[float, int]:
    taken = []
    asked = 0

    def count(_: float) -> None:
        nonlocal asked
        asked += 1

    metrics = PullMetrics(CollectorRegistry())
    async with PrometheusClient(SourceConfig(url=url), metrics=metrics, on_server_time=count) as client:
        for _ in range(6):
            began = time.perf_counter()
            found = await contributions(
                client,
                "sum by (job) (load)",
                LabelSet({"job": "a"}),
                now_ms=now_ms,
                before_ms=now_ms - 240_000,
            )
            taken.append(time.perf_counter() - began)
    assert found[0]["values"][0]["change"] == 490
    return statistics.median(taken), round(asked / 6)


def _quality(columns: list[FloatArray]) -> float:
    """Samples a second of one core, of all that the sidecar does for quality and drift at each step."""
    n = len(columns[0])
    labels = tuple(LabelSet({"pod": f"p{row}"}) for row in range(n))
    centre, nothing = np.full(n, 50.0), np.zeros(n)
    told = [
        Evaluation(
            "bench", "default", step * STEP_MS, labels, column[:, 0], centre, centre - 10, centre + 10,
            nothing, nothing.astype(np.int8), nothing,
        )
        for step, column in enumerate(columns)
    ]  # fmt: skip
    sink = QualitySink(QualityMetrics(CollectorRegistry()))
    sink.publish(told[0])
    began = time.process_time()
    for evaluation in told[1:]:
        sink.publish(evaluation)
    return (len(told) - 1) * n / (time.process_time() - began)


def _quality_by_pandas(columns: list[FloatArray]) -> float:
    """The same of pandas over the last hour at every step: gaps, repeats, rises, falls, smallest step."""
    frame = pd.DataFrame(np.repeat(np.concatenate(columns[:20], axis=1), 3, axis=1).T)
    began = time.process_time()
    change = frame.diff()
    for part in (frame.isna(), change == 0, change > 0, change < 0):
        part.mean()
    change.abs().replace(0, np.nan).min()
    frame.nunique()
    return frame.shape[1] / (time.process_time() - began)


def _drift(n_series: int) -> tuple[float, float]:
    """Microseconds a series and hour of looking for changes of the input: ours, and river's ADWIN."""
    from river.drift import ADWIN

    rng = np.random.default_rng(2)
    hours = rng.normal(0, 0.3, (200, n_series))
    window = AdaptiveWindow()
    window.resize(n_series)
    window.observe(hours[0])  # Compiled by now.
    began = time.perf_counter()
    for values in hours:
        window.observe(values)
    ours = time.perf_counter() - began
    others = [ADWIN(delta=CONFIDENCE, clock=1) for _ in range(100)]
    began = time.perf_counter()
    for values in hours:
        for other, value in zip(others, values[:100].tolist(), strict=True):
            other.update(value)
    theirs = time.perf_counter() - began
    return ours / hours.size * 1e6, theirs / (len(hours) * len(others)) * 1e6


def run(quick: bool = False) -> list[Row]:
    """Explanations with and without queries; quality beside pandas."""
    n_series = 2000 if quick else N_SERIES
    with tempfile.TemporaryDirectory() as directory:
        one, many = _explained(n_series, Path(directory))
    seconds, requests = _contributed(200 if quick else 2000)
    rng = np.random.default_rng(1)
    columns = [rng.normal(50, 2, (n_series, 1)) for _ in range(N_COLUMNS)]
    ours, theirs = _quality(columns), _quality_by_pandas(columns)
    drift, by_river = _drift(n_series)
    return [
        Row(
            f"an event of {n_series:,} series, {EVENTS_A_QUERY} past ones",
            f"{one * 1e3:.1f} ms (worst)",
            "",
            None,
            f"< {BUDGET_MS:.0f} ms",
            one * 1e3 < BUDGET_MS,
        ),
        Row(f"{OPEN} events at once", f"{many * 1e3:.0f} ms", "", None, "", True),
        Row(
            "an event with label values, on a real Prometheus",
            f"{seconds:.2f} s, {requests} requests",
            "",
            None,
            f"< {BUDGET_WITH_QUERIES_SECONDS:.0f} s, ≤ {BUDGET_REQUESTS}",
            seconds < BUDGET_WITH_QUERIES_SECONDS and 0 < requests <= BUDGET_REQUESTS,
        ),
        Row(
            "quality and drift of the data, as the sidecar counts and assesses them",
            f"{ours / 1e6:.1f} M samples/s",
            f"{theirs / 1e6:.3f} M samples/s (pandas over an hour)",
            ours / theirs,
            f"≥ {BUDGET_SAMPLES / 1e6:.0f} M samples/s",
            ours >= BUDGET_SAMPLES,
        ),
        Row(
            "a change of the input, a series and hour",
            f"{drift:.1f} µs",
            f"{by_river:.1f} µs (river's ADWIN)",
            by_river / drift,
            f"≤ {BUDGET_DRIFT_MICROSECONDS:.0f} µs",
            drift <= BUDGET_DRIFT_MICROSECONDS,
        ),
    ]


if __name__ == "__main__":
    show("explain", run())
