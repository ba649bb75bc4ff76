"""What slow detectors beside the core take from its path, and what they cost themselves."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from sidecar.config.model import QueryConfig
from sidecar.engine.detect.council import CouncilDetector
from sidecar.engine.detect.deep import AutoencoderModel
from sidecar.engine.detect.trained import TrainedDetector, fit
from sidecar.engine.model import QueryModel
from sidecar.engine.protocols import WorksBeside
from sidecar.engine.registry import make_detector
from sidecar.fitting import FitProcess
from sidecar.series import LabelSet, SeriesBatch
from tests.benchmarks.table import Row, show

STEP = 60
START_MS = 1_790_000_040_000
BUDGET_RATIO = 1.10
WARM_COLUMNS, MOST_WARM_COLUMNS = 100, 400
"""A first fit is due after 64 columns."""

HOUR = 3600 // STEP
BUDGET_SECONDS_A_SERIES_HOUR = 0.01
"""CPU of all members: 10,000 series would then take 3 % of a core."""

MEMBERS = (
    "matrix_profile",
    "isolation_forest",
    "kmeans",
    "gaussian_mixture",
    "dbscan",
    "spectral_clusters",
    "multivariate",
    "siblings",
    "spectral_residual",
    *(("autoencoder",) if AutoencoderModel().trainable else ()),
)


def _query(detector: str) -> QueryConfig:
    return QueryConfig.model_validate(
        {"name": "bench", "expr": "up", "step": STEP, "detector": detector, "council": MEMBERS}
    )


def _column(rng: np.random.Generator, labels: tuple[LabelSet, ...], at: int) -> SeriesBatch:
    times = np.array([START_MS + at * STEP * 1000], dtype=np.int64)
    return SeriesBatch("bench", labels, times, rng.normal(50, 2, (len(labels), 1)))


@dataclass(frozen=True)
class Step:
    """How long one step took: of the clock on the wall, and CPU of the thread that steps; seconds."""

    wall: float
    cpu: float


def _step(model: QueryModel, column: SeriesBatch) -> Step:
    wall, cpu = time.perf_counter(), time.thread_time()
    model.update(column)
    return Step(time.perf_counter() - wall, time.thread_time() - cpu)


def _beside(n_series: int, timed: int) -> tuple[list[Step], list[Step], QueryModel]:
    """Steps of the core alone, and of the core with everything beside it: pairs of the same column.

    Each goes first every other time, so that neither always finds a warm cache. Members judge
    after the step, and fits are another process', so neither makes the step wait.
    """
    rng = np.random.default_rng(5)
    labels = tuple(LabelSet({"job": "a", "instance": str(i)}) for i in range(n_series))
    alone, council = QueryModel(_query("ensemble")), QueryModel(_query("council"))
    trainer = FitProcess()
    assert isinstance(council.detector, WorksBeside)
    council.detector.put_aside(trainer)
    taken: dict[bool, list[Step]] = {True: [], False: []}
    turns = [(True, council), (False, alone)]
    try:
        at = 0
        while len(taken[True]) < timed:
            # Timed are steps after the first fits, which end when they end.
            warm = at < WARM_COLUMNS or (not _fitted(council) and at < MOST_WARM_COLUMNS)
            column = _column(rng, labels, at)
            for in_council, model in turns if at % 2 else turns[::-1]:
                step = _step(model, column)
                if not warm:
                    taken[in_council].append(step)
            council.detector.work(60.0)
            at += 1
            if warm and at > WARM_COLUMNS:
                time.sleep(0.5)
    finally:
        trainer.shutdown()
    return taken[False], taken[True], council


def _fitted(model: QueryModel) -> bool:
    assert isinstance(model.detector, CouncilDetector)
    return all(m.n_fits for m in model.detector.members.values() if isinstance(m, TrainedDetector))


def _cost(name: str, n_series: int) -> tuple[float, float]:
    """CPU seconds of a point of one of so many series, and of a fit."""
    rng = np.random.default_rng(6)
    labels = tuple(LabelSet({"job": "a", "instance": str(i)}) for i in range(n_series))
    detector = make_detector(name, _query(name))
    detector.resize(n_series)
    detector.calibrator.resize(n_series)
    taken = []
    for at in range(110):
        column = _column(rng, labels, at)
        begun = time.process_time()
        detector.judge(column)
        taken.append(time.process_time() - begun)
    seconds_a_fit = 0.0
    if isinstance(detector, TrainedDetector):
        windows = rng.normal(size=(2048, detector.windows.n_features))
        begun = time.process_time()
        fit(detector.model, windows, 7)
        seconds_a_fit = time.process_time() - begun
    return statistics.median(taken[90:]) / n_series, seconds_a_fit


def _row(what: str, alone: list[float], council: list[float], fitted: bool) -> Row:
    """Held to the budget is the median over the pairs, which what else the machine does hits alike."""
    ratio = statistics.median(ours / theirs for ours, theirs in zip(council, alone, strict=True))
    return Row(
        what,
        f"{statistics.median(council) * 1e3:.2f} ms, {ratio - 1:+.1%}",
        f"{statistics.median(alone) * 1e3:.2f} ms alone",
        1 / ratio,
        f"≤ {BUDGET_RATIO - 1:+.0%} over {len(alone)} pairs",
        ratio <= BUDGET_RATIO and fitted,
    )


def run(quick: bool = False) -> list[Row]:
    """The core's step alone and in the council, in one run; then what each member costs a series and hour."""
    n_series = 2_000 if quick else 10_000
    alone, council, model = _beside(n_series, 100 if quick else 200)
    fitted = _fitted(model)
    what = f"a step of {n_series} series, {len(MEMBERS)} slow detectors beside it"
    rows = [
        _row(f"wall clock of {what}", [s.wall for s in alone], [s.wall for s in council], fitted),
        _row(f"CPU of {what}", [s.cpu for s in alone], [s.cpu for s in council], fitted),
    ]
    total = 0.0
    for name in MEMBERS:
        seconds, seconds_a_fit = _cost(name, 1_000 if quick else 2_000)
        total += seconds * HOUR
        fits = f", {seconds_a_fit:.2f} s a fit" if seconds_a_fit else ""
        rows.append(
            Row(f"{name}: CPU a series and hour", f"{seconds * HOUR * 1e3:.3f} ms{fits}", "", None, "", True)
        )
    rows.append(
        Row(
            "all of them: CPU a series and hour",
            f"{total * 1e3:.2f} ms",
            "",
            None,
            f"≤ {BUDGET_SECONDS_A_SERIES_HOUR * 1e3:.0f} ms",
            total <= BUDGET_SECONDS_A_SERIES_HOUR,
        )
    )
    return rows


if __name__ == "__main__":
    show("council", run())
