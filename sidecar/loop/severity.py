"""How bad an anomaly is: how far from the expected, for how long, and how much the business cares."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sidecar.config.business import USUAL_WEIGHTS, Concern
from sidecar.config.model import QueryConfig
from sidecar.series import Evaluation, FloatArray, TimeArray

LEVELS = ("none", "low", "medium", "high", "critical")
"""Names of the severities 0 to 4."""

EDGES = (1.0, 2.5, 6.0)
"""Urgency from which a severity is medium, high, critical; see `urgency`."""

QUIET_STEPS = 3
"""An anomaly ends after so many steps inside the band, so that one good sample does not end it."""

USUAL_IMPORTANCE = 0.5


def importance(query: QueryConfig, weights: Mapping[Concern, float]) -> float:
    """What the query is worth to the business, 0 to 1: the most that any concern makes of it."""
    if not query.importance:
        return USUAL_IMPORTANCE
    known = USUAL_WEIGHTS | dict(weights)
    return max(known[concern] * share for concern, share in query.importance.items())


def urgency(score: FloatArray, seconds: FloatArray) -> FloatArray:
    """How far times how long: 1 at the edge of the band at once, about 20 at the most.

    One more for each doubling of the score, up to 16; once more that for each doubling of the quarters of an
    hour, up to two hours.
    """
    far = 1.0 + np.clip(np.log2(np.maximum(score, 1.0)), 0.0, 4.0)
    long = 1.0 + np.minimum(np.log2(1.0 + seconds / 900.0), 3.0)
    return np.asarray(far * long)


class Course:
    """How long each series of a query has been anomalous, and how severe that is."""

    def __init__(self, min_duration_seconds: float, importance: float) -> None:
        self._min_duration_ms = min_duration_seconds * 1000
        self._importance = importance
        self._since_ms: TimeArray = np.zeros(0, dtype=np.int64)
        self._quiet: NDArray[np.int32] = np.zeros(0, dtype=np.int32)

    @property
    def n_rows(self) -> int:
        """Rows that are followed so far."""
        return len(self._since_ms)

    def recall(self, since_ms: TimeArray) -> None:
        """Begin with rows that are anomalous since then, (N,); 0 where one is not."""
        self._since_ms = since_ms
        self._quiet = np.zeros(len(since_ms), dtype=np.int32)

    def take_over(self, before: Course) -> None:
        """Go on where another one of the same rows was."""
        self._since_ms, self._quiet = before._since_ms.copy(), before._quiet.copy()

    def observe(self, evaluation: Evaluation) -> NDArray[np.int8]:
        """Severity of each row, (N,): 0 where it is not flagged, or not yet for long enough."""
        self._fit(len(evaluation.labels))
        score = np.nan_to_num(evaluation.anomaly_score, nan=0.0)
        flagged = score > 1.0
        self._quiet = np.where(flagged, 0, self._quiet + 1).astype(np.int32)
        self._since_ms[self._quiet >= QUIET_STEPS] = 0
        self._since_ms[flagged & (self._since_ms == 0)] = evaluation.timestamp_ms
        lasted_ms = evaluation.timestamp_ms - self._since_ms
        told = flagged & (lasted_ms >= self._min_duration_ms)
        urgent = self._importance * urgency(score, lasted_ms / 1000.0)
        return np.where(told, 1 + np.searchsorted(EDGES, urgent, side="right"), 0).astype(np.int8)

    def _fit(self, n_rows: int) -> None:
        missing = n_rows - len(self._since_ms)
        if missing > 0:
            self._since_ms = np.concatenate([self._since_ms, np.zeros(missing, dtype=np.int64)])
            self._quiet = np.concatenate([self._quiet, np.zeros(missing, dtype=np.int32)])
        elif missing < 0:
            self._since_ms, self._quiet = self._since_ms[:n_rows].copy(), self._quiet[:n_rows]
