"""What detectors do beside the scoring path: fits elsewhere, opinions after the step is out."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

if TYPE_CHECKING:  # The engine is imported in a worker thread: numba costs half a second.
    from sidecar.engine.model import QueryModel


class BesideMetrics:
    """What is told of it, on the registry that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.fits = Counter(
            "pronoia_detector_fits_total",
            "Fits of a query's trained detectors.",
            ["query", "detector"],
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
        self._told: dict[str, int] = {}
        self._forgotten = 0

    def put_aside(self, model: QueryModel) -> None:
        """From now on the model's detector does what is slow in `work` only."""
        from sidecar.engine.protocols import WorksBeside

        if isinstance(model.detector, WorksBeside):
            model.detector.put_aside(self._trainer)
        self._told, self._forgotten = {}, 0

    def work(self, model: QueryModel, seconds: float) -> None:
        """Give the detector about so long, and tell what came of it; for a worker thread."""
        from sidecar.engine.detect.council import CouncilDetector
        from sidecar.engine.detect.trained import TrainedDetector
        from sidecar.engine.protocols import WorksBeside

        detector = model.detector
        if not isinstance(detector, WorksBeside):
            return
        detector.work(seconds)
        members: Mapping[str, object] = {model.detector_name: detector}
        if isinstance(detector, CouncilDetector):
            members = detector.members
            self._metrics.forgotten.labels(self._query).inc(detector.forgotten_points - self._forgotten)
            self._forgotten = detector.forgotten_points
        for name, member in members.items():
            if isinstance(member, TrainedDetector):
                self._tell(name, member.n_fits, member.quality)

    def _tell(self, name: str, n_fits: int, quality: dict[str, float]) -> None:
        known = self._told.get(name, n_fits)  # Those of a restored model were told by who fitted them.
        self._metrics.fits.labels(self._query, name).inc(n_fits - known)
        self._told[name] = n_fits
        for measure, value in quality.items():
            self._metrics.quality.labels(self._query, name, measure).set(value)

    def forget(self) -> None:
        """The query is no longer watched."""
        self._metrics.forget(self._query)
