"""What one query's models take: memory by series, and CPU as measured here, on a few made-up columns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import numpy as np

if TYPE_CHECKING:
    from sidecar.config.detector_names import DetectorName
    from sidecar.config.model import QueryConfig
    from sidecar.series import SeriesBatch

P = ParamSpec("P")
T = TypeVar("T")

N_SERIES = 256
N_COLUMNS, N_TIMED = 100, 20
"""A first fit is due after 64 columns; timed are the last ones."""


@dataclass(frozen=True)
class ModelCost:
    """Memory in bytes, time in seconds on one core of this machine."""

    bytes_a_series: int
    bytes_shared: int
    """Whatever the number of series: windows that are learnt from, fitted models."""
    seconds_a_point: float
    """Of judging one point of one series."""
    seconds_a_point_beside: float
    """Of a council's members, after the step is out."""
    seconds_a_fit: float
    """Of fits in a process of their own, all that are due together; about one a day."""


class _Stopwatch(Executor):
    """Runs what is submitted at once, and takes the time of it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run it; the first fit of a process includes what it imports."""
        began = time.process_time()
        future: Future[T] = Future()
        future.set_result(fn(*args, **kwargs))
        self.seconds = time.process_time() - began
        return future


def model_cost(query: QueryConfig) -> ModelCost:
    """Measured by judging made-up series with the query's own detector and its council, if it has one."""
    bytes_shared, bytes_a_series = _memory(query)
    members = query.council if query.detector == "council" else ()
    core = "ensemble" if query.detector == "council" else query.detector
    in_step, fit = _times(core, query.step)
    beside = [_times(member, query.step) for member in members]
    return ModelCost(
        bytes_a_series=bytes_a_series,
        bytes_shared=bytes_shared,
        seconds_a_point=in_step,
        seconds_a_point_beside=sum(point for point, _ in beside),
        seconds_a_fit=fit + sum(a_fit for _, a_fit in beside),
    )


def _memory(query: QueryConfig) -> tuple[int, int]:
    """Bytes whatever the number of series, and of one more, with what explains it and counts quality."""
    few, many = _bytes(query, N_SERIES), _bytes(query, 2 * N_SERIES)
    a_series = (many - few) // N_SERIES
    return max(few - a_series * N_SERIES, 0), a_series


def _bytes(query: QueryConfig, n_series: int) -> int:
    from sidecar.engine.adwin import InputDrift
    from sidecar.engine.drift import PageHinkley
    from sidecar.engine.explain import Chronicle
    from sidecar.engine.model import QueryModel
    from sidecar.engine.quality import DataQuality

    model = QueryModel(query)
    beside = (Chronicle(), DataQuality(query.step), PageHinkley(), InputDrift())
    total = 0
    for part in (model.detector, model.calibrator, model.forecaster, model.known, *beside):
        part.resize(n_series)
        total += sum(array.nbytes for array in part.state().values())
    return total


@cache
def _times(detector: DetectorName, step_seconds: float) -> tuple[float, float]:
    """Seconds of a point, and of a fit where there is one, of a detector of that name."""
    from sidecar.config.model import QueryConfig
    from sidecar.engine.protocols import WorksBeside
    from sidecar.engine.registry import make_detector

    made = make_detector(detector, QueryConfig(name="cost", expr="cost", step=step_seconds))
    made.resize(N_SERIES)
    made.calibrator.resize(N_SERIES)
    stopwatch = _Stopwatch()
    if isinstance(made, WorksBeside):
        made.put_aside(stopwatch)
    taken = []
    for column in _columns(step_seconds):
        began = time.thread_time()
        made.judge(column)
        taken.append(time.thread_time() - began)
    return statistics.median(taken[-N_TIMED:]) / N_SERIES, stopwatch.seconds


def _columns(step_seconds: float) -> list[SeriesBatch]:
    from sidecar.series import LabelSet, SeriesBatch

    rng = np.random.default_rng(5)
    labels = tuple(LabelSet({"pod": str(row)}) for row in range(N_SERIES))
    times = (np.arange(N_COLUMNS) * step_seconds * 1000).astype(np.int64)
    values = rng.normal(50, 2, (N_SERIES, N_COLUMNS))
    return [
        SeriesBatch("cost", labels, times[at : at + 1], values[:, at : at + 1]) for at in range(N_COLUMNS)
    ]
