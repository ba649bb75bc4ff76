"""What judging and learning one column costs, beside an object for each series."""

from __future__ import annotations

import gc
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from sidecar.app.process import COLLECT_AFTER
from sidecar.config.model import QueryConfig
from sidecar.engine import snapshot
from sidecar.engine.model import QueryModel
from sidecar.engine.registry import make_detector
from sidecar.series import LabelSet, SeriesBatch
from tests.benchmarks.beside_score import prometheus_seconds, river_seconds, statsmodels_seconds
from tests.benchmarks.table import Row, show

STEP = 60
START_MS = 1_790_000_040_000
QUERY = QueryConfig(name="bench", expr="up", step=STEP)
BUDGET_MICROSECONDS = 1.0
BUDGET_STATE_BYTES = 8 * 1024  # Netdata's own documentation says 18 KB per metric.
BUDGET_FIT_SECONDS = 3.0
BUDGET_SNAPSHOT_SECONDS = 3.0
BUDGET_ALL_MICROSECONDS = 1.0  # With rows kept apart, bands cut to what is possible and five horizons.
WARM_COLUMNS = 25  # Past the warm-up of the detector, so that all of its work is done.


class PlainSeries:
    """Exponential mean and variance of one series, as object-per-series libraries keep them."""

    __slots__ = ("mean", "variance")

    def __init__(self) -> None:
        self.mean, self.variance = 0.0, 1.0

    def update(self, value: float) -> float:
        """The distance from the mean in deviations, and then the learning."""
        off = value - self.mean
        score = abs(off) / math.sqrt(self.variance + 1e-12)
        self.mean += 0.05 * off
        self.variance += 0.05 * (off * off - self.variance)
        return score


def _columns(n_series: int, n_steps: int) -> list[SeriesBatch]:
    rng = np.random.default_rng(5)
    labels = tuple(LabelSet({"instance": str(i)}) for i in range(n_series))
    times = START_MS + np.arange(n_steps, dtype=np.int64) * STEP * 1000
    return [
        SeriesBatch("bench", labels, times[t : t + 1], rng.normal(50, 2, (n_series, 1)))
        for t in range(n_steps)
    ]


def _ours(n_series: int, repeats: int) -> tuple[float, QueryModel]:
    """Seconds a column (median) of score, calibration and all forecasts; and the model."""
    model = QueryModel(QUERY)
    columns = _columns(n_series, WARM_COLUMNS + repeats)
    for column in columns[:WARM_COLUMNS]:
        model.update(column)
    taken = []
    for column in columns[WARM_COLUMNS:]:
        begun = time.perf_counter()
        model.update(column)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken), model


def _judged(n_series: int, repeats: int) -> float:
    """Seconds a column (median) of the default ensemble alone: statistic, thresholds, band, learning."""
    detector = make_detector("ensemble", QUERY)
    detector.resize(n_series)
    detector.calibrator.resize(n_series)
    taken = []
    for column in _columns(n_series, WARM_COLUMNS + repeats):
        begun = time.perf_counter()
        detector.judge(column)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[WARM_COLUMNS:])


def _plain(n_series: int, repeats: int) -> float:
    series = [PlainSeries() for _ in range(n_series)]
    taken = []
    for column in _columns(n_series, repeats):
        values = column.values[:, 0].tolist()
        begun = time.perf_counter()
        for one, value in zip(series, values, strict=True):
            one.update(value)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def _state_bytes(model: QueryModel) -> int:
    parts = (model.detector, model.calibrator, model.forecaster)
    # The pool keeps the history of some series, bounded a query and not a series: bench_forecast's matter.
    return sum(array.nbytes for part in parts for name, array in part.state().items() if "pool_" not in name)


def _fit_row(n_series: int, days: int) -> Row:
    n_steps = days * 86400 // STEP
    values = np.random.default_rng(6).normal(50, 2, (n_series, n_steps))
    labels = tuple(LabelSet({"instance": str(i)}) for i in range(n_series))
    history = SeriesBatch(
        "bench", labels, START_MS + np.arange(n_steps, dtype=np.int64) * STEP * 1000, values
    )
    model = QueryModel(QUERY)
    begun = time.perf_counter()
    model.fit(history)
    seconds = time.perf_counter() - begun
    return Row(
        f"learn {n_series} series × {days} days at 1 min",
        f"{seconds:.2f} s",
        "",
        None,
        f"≤ {BUDGET_FIT_SECONDS:.0f} s",
        seconds <= BUDGET_FIT_SECONDS,
    )


def _beside_rows(ours: float, quick: bool) -> list[Row]:
    """Seconds a series and point, beside what a user would run instead."""
    others = {
        "half-space trees of river": river_seconds(500 if quick else 5_000),
        "statsmodels' Holt-Winters, fitted anew once a day": statsmodels_seconds(1 if quick else 5),
        "CPU of a real Prometheus, adaptive bands as rules": prometheus_seconds(100 if quick else 1_000),
    }
    return [
        Row(
            f"a point of a series, beside {name}",
            f"{ours * 1e6:.2f} µs",
            f"{theirs * 1e6:.0f} µs",
            theirs / ours,
            "≥ 10×",
            theirs >= 10 * ours,
        )
        for name, theirs in others.items()
    ]


def _snapshot_row(what: str, work: Callable[[], object]) -> Row:
    begun = time.perf_counter()
    work()
    seconds = time.perf_counter() - begun
    budget = f"≤ {BUDGET_SNAPSHOT_SECONDS:.0f} s"
    return Row(what, f"{seconds:.2f} s", "", None, budget, seconds <= BUDGET_SNAPSHOT_SECONDS)


def run(quick: bool = False) -> list[Row]:
    """Cost a series and point, state a series, learning from history, saving; seconds on one core."""
    gc.set_threshold(*COLLECT_AFTER)  # As the sidecar's own process does.
    _ours(10, 1)  # Compiled code is loaded, or made, outside the measurement.
    rows: list[Row] = []
    repeats = 5 if quick else 25
    for n_series in (1_000, 10_000) if quick else (1_000, 10_000, 100_000):
        ours, model = _ours(n_series, repeats)
        plain = _plain(n_series, min(repeats, 5))
        for what, seconds, budget in (
            ("judge", _judged(n_series, repeats), BUDGET_MICROSECONDS),
            ("judge, forecast, keep", ours, BUDGET_ALL_MICROSECONDS),
        ):
            cost = seconds / n_series * 1e6
            rows.append(
                Row(
                    f"{what} {n_series} series",
                    f"{cost:.2f} µs a point",
                    f"{plain / n_series * 1e6:.2f} µs (mean and variance only, plain objects)",
                    plain / seconds,
                    f"≤ {budget:.1f} µs",
                    cost <= budget,
                )
            )
    rows.extend(_beside_rows(ours / n_series, quick))
    state = _state_bytes(model) / n_series
    rows.append(
        Row(
            "state a series, five horizons",
            f"{state:.0f} bytes",
            "",
            None,
            f"≤ {BUDGET_STATE_BYTES} bytes",
            state <= BUDGET_STATE_BYTES,
        )
    )
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "bench.model"
        rows.append(_snapshot_row(f"save {n_series} series", partial(snapshot.save, model, path)))
        # A process that starts again has the memory of the one that ended.
        del model
        gc.collect()
        rows.append(_snapshot_row(f"load {n_series} series", partial(snapshot.load, path, QUERY)))
    rows.append(_fit_row(50, 2 if quick else 14))
    return rows


if __name__ == "__main__":
    show("score", run())
