"""The quality of every watched query's data and fit: a sink that counts, with metrics and a report.

What it knows of a query is kept beside its model, so that a restart does not make all series young and
forget what they looked like in the weeks before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client import CollectorRegistry, Gauge

from sidecar.errors import ModelError
from sidecar.loop import quality_file
from sidecar.series import Evaluation, LabelSet
from sidecar.telemetry import get_logger

if TYPE_CHECKING:
    from sidecar.engine.adwin import InputDrift
    from sidecar.engine.arrays import RowArrays
    from sidecar.engine.drift import PageHinkley
    from sidecar.engine.quality import DataQuality, Quality

HOUR_MS = 3_600_000
ASSESS_STEPS = 10
"""Metrics are renewed at every tenth step: counting is cheap, assessing looks at all counts."""


class QualityMetrics:
    """What is told of the data."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.score = Gauge(
            "pronoia_query_data_quality_ratio",
            "How good a query's data are for judging them: 1 nothing is wrong, 0 useless.",
            ["query"],
            registry=registry,
        )
        self.gaps = Gauge(
            "pronoia_query_gap_ratio", "Points missing between others.", ["query"], registry=registry
        )
        self.series = Gauge(
            "pronoia_query_doubtful_series",
            "Series of a query with a trait that makes judging them harder.",
            ["query", "trait"],
            registry=registry,
        )

        self.limit = Gauge(
            "pronoia_query_series_limit_ratio",
            "Series of a query by its limit, beyond which it is not evaluated.",
            ["query"],
            registry=registry,
        )

    def show(self, query: str, found: Quality, drifting: int, changed: int) -> None:
        """Renew what is told of one query; the last two count series."""
        self.score.labels(query).set(found.score)
        self.gaps.labels(query).set(found.gap_ratio)
        for trait in ("flat", "quantised", "counter", "stale", "young", "interval"):
            self.series.labels(query, trait).set(getattr(found, f"{trait}_series"))
        self.series.labels(query, "drifting").set(drifting)
        self.series.labels(query, "changed").set(changed)
        if found.series_ratio is not None:
            self.limit.labels(query).set(found.series_ratio)

    def forget(self, query: str) -> None:
        """Drop the children of a query that is no longer watched."""
        for metric in (self.score, self.gaps, self.series, self.limit):
            metric.remove_by_labels({"query": query})


@dataclass
class _Counted:
    labels: tuple[LabelSet, ...]
    quality: DataQuality
    drift: PageHinkley
    inputs: InputDrift
    at_ms: int
    step_ms: int = 0
    n_steps: int = 0
    saved_hour: int = 0

    @property
    def parts(self) -> dict[str, RowArrays]:
        """What has a row for each series, by the name that it is saved by."""
        return {"quality": self.quality, "drift": self.drift, "inputs": self.inputs}


class QualitySink:
    """Takes every evaluation; may be asked from any thread.

    `limit_of`: how many series a query may have, None where that is not known.
    `directory`: where the counts are kept over restarts, None: nowhere.
    """

    def __init__(
        self,
        metrics: QualityMetrics,
        limit_of: Callable[[str], int | None] = lambda _: None,
        directory: Path | None = None,
    ) -> None:
        self._metrics = metrics
        self._limit_of = limit_of
        self._queries: dict[str, _Counted] = {}
        self._directory = directory
        self._lock = threading.Lock()
        self._log = get_logger("quality")

    def publish(self, evaluation: Evaluation) -> None:
        """Count one column."""
        from sidecar.engine.explain import deviations

        with self._lock:
            counted = self._queries.get(evaluation.query)
            if counted is None:
                counted = self._queries[evaluation.query] = self._opened(evaluation)
            elif len(evaluation.labels) < len(counted.labels):
                counted = self._queries[evaluation.query] = _fresh(evaluation)
            if counted.labels is not evaluation.labels:
                pairs = zip(counted.labels, evaluation.labels, strict=False)
                changed = [row for row, (old, new) in enumerate(pairs) if old != new]
                for part in counted.parts.values():
                    part.reset(np.array(changed, dtype=np.int64))
                counted.labels = evaluation.labels
            elapsed = evaluation.timestamp_ms - counted.at_ms
            if elapsed > 0:
                # The shortest distance is the step; a longer one was an outage of ours or theirs.
                counted.step_ms = min(counted.step_ms or elapsed, elapsed)
                counted.quality.step_seconds = counted.step_ms / 1000
            counted.at_ms = evaluation.timestamp_ms
            counted.quality.resize(len(evaluation.labels))
            counted.quality.observe(evaluation.actual[:, None])
            counted.drift.resize(len(evaluation.labels))
            counted.drift.observe(
                deviations(evaluation.actual, evaluation.expected, evaluation.lower, evaluation.upper)
            )
            counted.inputs.resize(len(evaluation.labels))
            counted.inputs.observe(evaluation.timestamp_ms, evaluation.actual)
            counted.n_steps += 1
            if counted.n_steps % ASSESS_STEPS == 1:
                found = counted.quality.assess(max_series=self._limit_of(evaluation.query))
                self._metrics.show(
                    evaluation.query,
                    found,
                    int(counted.drift.drifting().sum()),
                    int(counted.inputs.changed().sum()),
                )

    def retire(self, query: str) -> None:
        """Forget a query that is no longer watched."""
        with self._lock:
            if self._queries.pop(query, None) is not None:
                self._metrics.forget(query)

    def save(self, *, all_of_them: bool = True) -> None:
        """Write every query's counts beside its model.

        `all_of_them`: not only where an hour began since the last time; what is learnt of a series changes
        on the hour, and is a kilobyte of each.
        Raises: OSError where a file cannot be written, when all others are.
        """
        if self._directory is None:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        trouble: OSError | None = None
        for name in list(self._queries):
            with self._lock:  # One query at a time: copies of all would be memory that nobody reckoned with.
                counted = self._queries.get(name)
                hour = 0 if counted is None else counted.at_ms // HOUR_MS
                if counted is None or (hour == counted.saved_hour and not all_of_them):
                    continue
                header = quality_file.Header(
                    [one.pairs for one in counted.labels],
                    counted.at_ms,
                    counted.step_ms,
                    counted.inputs.clock,
                )
                arrays = quality_file.copied(counted.parts)
            try:
                quality_file.write(self._file(name), header, arrays)
                counted.saved_hour = hour
            except OSError as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble

    def _file(self, query: str) -> Path:
        return (self._directory or Path()) / f"{query}{quality_file.ENDING}"

    def _opened(self, evaluation: Evaluation) -> _Counted:
        """Counts for a query that is seen for the first time, with what an earlier process knew."""
        counted = _fresh(evaluation)
        if self._directory is None:
            return counted
        path = self._file(evaluation.query)
        try:
            header = quality_file.read(path, counted.parts, evaluation.labels)
            if header is None:
                return counted
            counted.inputs.go_on(header.clock)
        except ModelError as error:
            self._log.warning("counts of data set aside", query=evaluation.query, err=str(error))
            return _fresh(evaluation)
        counted.at_ms, counted.step_ms = header.at_ms, header.step_ms
        counted.saved_hour = header.at_ms // HOUR_MS
        return counted

    def drifting(self, query: str) -> float:
        """Part of a query's series whose expectations are off now, or whose input has changed, 0..1."""
        with self._lock:
            counted = self._queries.get(query)
            if counted is None or not counted.drift.n_rows:
                return 0.0
            return float((counted.drift.drifting() | counted.inputs.changed()).mean())

    def report(self) -> Sequence[Mapping[str, Any]]:
        """Every query's quality, the worst first."""
        with self._lock:
            found = [
                (
                    name,
                    counted.quality.assess(max_series=self._limit_of(name)),
                    int(counted.drift.drifting().sum()),
                    int(counted.inputs.changed().sum()),
                )
                for name, counted in self._queries.items()
            ]
        found.sort(key=lambda one: one[1].score)
        return [
            {"query": name, **asdict(quality), "drifting_series": drifting, "changed_series": changed}
            for name, quality, drifting, changed in found
        ]


def _fresh(evaluation: Evaluation) -> _Counted:
    from sidecar.engine.adwin import InputDrift
    from sidecar.engine.drift import PageHinkley
    from sidecar.engine.quality import DataQuality

    return _Counted(
        evaluation.labels, DataQuality(60.0), PageHinkley(), InputDrift(), evaluation.timestamp_ms
    )
