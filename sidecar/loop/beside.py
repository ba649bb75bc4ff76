"""What detectors do beside the scoring path: fits elsewhere, opinions after the step is out."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.telemetry import get_logger

if TYPE_CHECKING:  # The engine is imported in a worker thread: numba costs half a second.
    from sidecar.engine.model import QueryModel


WORK_SHARE = 0.05
"""Part of a step that may be spent beside scoring, after what is due was published."""

MAX_WORK_SECONDS = 2.0


def work_seconds(step_seconds: float) -> float:
    """So long a query's forecaster, its detector, and its challenger's, may each work between two steps."""
    return min(WORK_SHARE * step_seconds, MAX_WORK_SECONDS)


class BesideMetrics:
    """What is told of it, on the registry that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.fits = Counter(
            "pronoia_detector_fits_total",
            "Fits of a query's trained detectors, by outcome.",
            ["query", "detector", "result"],
            registry=registry,
        )
        self.quality = Gauge(
            "pronoia_detector_quality",
            "How good the newest fit of a trained detector is, by its own measures.",
            ["query", "detector", "measure"],
            registry=registry,
        )
        self.forgotten = Counter(
            "pronoia_council_forgotten_points_total",
            "Points that a council's members never judged, because too many waited.",
            ["query"],
            registry=registry,
        )

    def forget(self, query: str) -> None:
        """Drop the children of a query that is no longer watched."""
        for metric in (self.fits, self.quality, self.forgotten):
            metric.remove_by_labels({"query": query})


class Beside:
    """The dealings of one query with the slow part of its detector."""

    def __init__(self, query: str, trainer: Executor, metrics: BesideMetrics) -> None:
        self._query, self._trainer, self._metrics = query, trainer, metrics
        self._told: dict[tuple[str, str], int] = {}
        self._log = get_logger("beside").bind(query=query)
        self._forgotten = 0
        self._told_of: object = None
        """The detector that was told of; another one counts anew."""

    def put_aside(self, model: QueryModel) -> None:
        """From now on the model's detector does what is slow in `work` only."""
        from sidecar.engine.protocols import WorksBeside

        if isinstance(model.detector, WorksBeside):
            model.detector.put_aside(self._trainer)

    def work(self, model: QueryModel, seconds: float) -> None:
        """Give the detector about so long, and tell what came of it; for a worker thread."""
        from sidecar.engine.detect.council import CouncilDetector
        from sidecar.engine.detect.trained import TrainedDetector
        from sidecar.engine.protocols import WorksBeside

        detector = model.detector
        if not isinstance(detector, WorksBeside):
            return
        if self._told_of is not detector:
            self._told, self._forgotten, self._told_of = {}, 0, detector
        detector.work(seconds)
        members: Mapping[str, object] = {model.detector_name: detector}
        if isinstance(detector, CouncilDetector):
            members = detector.members
            self._metrics.forgotten.labels(self._query).inc(detector.forgotten_points - self._forgotten)
            self._forgotten = detector.forgotten_points
        for name, member in members.items():
            if isinstance(member, TrainedDetector):
                self._tell(name, "ok", member.n_fits)
                self._tell(name, "error", member.n_failed_fits)
                self._rate(name, member.quality)

    def _tell(self, name: str, result: str, n: int) -> None:
        known = self._told.setdefault((name, result), n)  # Those before a restart were told then.
        self._metrics.fits.labels(self._query, name, result).inc(n - known)
        self._told[name, result] = n
        if result == "error" and n > known:
            self._log.warning("a fit failed, the one before serves until the next is due", detector=name)

    def _rate(self, name: str, quality: dict[str, float]) -> None:
        for measure, value in quality.items():
            self._metrics.quality.labels(self._query, name, measure).set(value)

    def forget(self) -> None:
        """The query is no longer watched."""
        self._metrics.forget(self._query)
