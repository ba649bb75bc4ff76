"""What is followed by a model's rows over steps: anomalies, how long each lasts, how many there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sidecar.config.business import Concern
from sidecar.config.model import QueryConfig
from sidecar.events import EventBus
from sidecar.loop.achieved import AchievedRate
from sidecar.loop.anomalies import AnomalyTracker
from sidecar.loop.metrics import LoopMetrics
from sidecar.loop.severity import Course, importance
from sidecar.series import Evaluation, LabelSet


class Following:
    """Takes each evaluation of one query."""

    def __init__(
        self,
        query: QueryConfig,
        weights: Mapping[Concern, float],
        *,
        bus: EventBus,
        metrics: LoopMetrics,
        now: Callable[[], float],
        begun: Callable[[str, float], Mapping[LabelSet, int]] | None = None,
    ) -> None:
        self._query, self._weights, self._bus, self._metrics, self._now = query, weights, bus, metrics, now
        self._begun = begun
        self._achieved = AchievedRate(query.step)
        self.begin()

    def begin(self) -> None:
        """Forget whose rows there were: they are another model's from now on."""
        self._anomalies = AnomalyTracker(self._query.name, self._bus, self._now)
        self._course = Course(self._query.min_duration, importance(self._query, self._weights))

    def take_over(self, before: Following) -> None:
        """Go on where another one was, whose rows are the same: what lasts has not begun just now."""
        self._anomalies, self._achieved = before._anomalies, before._achieved
        self._course.take_over(before._course)

    def recall(self, labels: Sequence[LabelSet], now_ms: float) -> None:
        """Take up what lasts since before this process or model, unless it is followed already."""
        if self._begun is not None and not self._course.n_rows:
            since = self._begun(self._query.name, now_ms)
            self._course.recall(np.array([since.get(one, 0) for one in labels], dtype=np.int64))

    def severity(self, evaluation: Evaluation) -> NDArray[np.int8]:
        """How severe each row's anomaly is, (N,); may be called in a worker thread."""
        return self._course.observe(evaluation)

    def observe(self, evaluation: Evaluation, n_scored: int) -> None:
        """Tell of anomalies that begin and end, and count them."""
        metrics, name = self._metrics, self._query.name
        n_started = self._anomalies.observe(evaluation)
        metrics.anomalies.labels(name).inc(n_started)
        rate = self._achieved.observe(n_started, n_scored)
        if rate is not None:
            metrics.alarm_rate.labels(name).set(rate)
        if evaluation.accepted is not None:
            metrics.accepted_shifts.labels(name).inc(int(evaluation.accepted.sum()))
