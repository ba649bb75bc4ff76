"""Anomaly events: when a series leaves what was expected of it, and when it is back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sidecar.events import Event, EventBus
from sidecar.loop.severity import LEVELS, QUIET_STEPS
from sidecar.series import SHAPES, BoolArray, Evaluation, LabelSet, RowArray

EVENTS_PER_STEP = 20
"""A whole fleet that breaks at once is one story, not a thousand events; the worst are told."""


class AnomalyTracker:
    """Turns scores into `anomaly.started` and `anomaly.ended`, one pair per series and anomaly.

    `shift.accepted` says that a level which stayed is the new normal from now on;
    `series.absent` and `series.returned`, that one stopped and came back, or was forgotten.
    """

    def __init__(self, query: str, bus: EventBus, now: Callable[[], float]) -> None:
        self._query = query
        self._bus = bus
        self._now = now
        self._active: BoolArray = np.zeros(0, dtype=np.bool_)
        self._quiet = np.zeros(0, dtype=np.int32)
        self._absent: BoolArray = np.zeros(0, dtype=np.bool_)
        self._labels: tuple[LabelSet, ...] = ()

    def observe(self, evaluation: Evaluation) -> int:
        """Take one evaluation; how many anomalies began. Rows mean the same while their label set does."""
        self._grow(len(evaluation.labels))
        score = np.nan_to_num(evaluation.anomaly_score, nan=0.0)
        flagged = score > 1.0 if evaluation.severity is None else evaluation.severity > 0
        started = flagged & ~self._active
        self._quiet = np.where(flagged, 0, self._quiet + 1)
        ended = self._active & (self._quiet >= QUIET_STEPS)
        self._active = (self._active | started) & ~ended
        worst = np.flatnonzero(started)
        self._tell_some("anomaly.started", evaluation, worst[np.argsort(-score[worst], kind="stable")])
        if evaluation.accepted is not None:
            self._tell_some("shift.accepted", evaluation, np.flatnonzero(evaluation.accepted))
        self._tell_some("anomaly.ended", evaluation, np.flatnonzero(ended))
        self._observe_absence(evaluation)
        self._labels = evaluation.labels
        return int(started.sum())

    def _observe_absence(self, evaluation: Evaluation) -> None:
        absent = evaluation.absent
        if absent is None:
            absent = np.zeros(len(self._active), dtype=np.bool_)
        self._tell_some("series.absent", evaluation, np.flatnonzero(absent & ~self._absent))
        self._tell_some("series.returned", evaluation, np.flatnonzero(self._absent & ~absent))
        self._absent = absent

    def _tell_some(self, kind: str, evaluation: Evaluation, rows: RowArray) -> None:
        for row in rows[:EVENTS_PER_STEP]:
            self._tell(kind, evaluation, int(row), also=max(len(rows) - EVENTS_PER_STEP, 0))

    def _grow(self, n_rows: int) -> None:
        missing = n_rows - len(self._active)
        if missing > 0:
            self._active = np.concatenate([self._active, np.zeros(missing, dtype=np.bool_)])
            self._quiet = np.concatenate([self._quiet, np.zeros(missing, dtype=np.int32)])
            self._absent = np.concatenate([self._absent, np.zeros(missing, dtype=np.bool_)])
        elif missing < 0:
            self._active, self._quiet = self._active[:n_rows], self._quiet[:n_rows]
            self._absent = self._absent[:n_rows]

    def _tell(self, kind: str, evaluation: Evaluation, row: int, *, also: int) -> None:
        labels = evaluation.labels[row]
        if not labels and row < len(self._labels):
            labels = self._labels[row]  # A row that is forgotten has none any more: whose it was is meant.
        facts = {
            "query": self._query,
            "labels": dict(labels.pairs),
            "timestamp_ms": evaluation.timestamp_ms,
            "actual": _number(evaluation.actual[row]),
            "expected": _number(evaluation.expected[row]),
            "lower": _number(evaluation.lower[row]),
            "upper": _number(evaluation.upper[row]),
            "score": _number(evaluation.anomaly_score[row]),
            "reason": _reason(evaluation, row),
            "severity": None if evaluation.severity is None else LEVELS[evaluation.severity[row]],
            "and_others": also,
        }
        self._bus.publish(Event(kind, self._now(), facts))


def _reason(evaluation: Evaluation, row: int) -> str | None:
    """The shape by which a series is flagged; `outside` where its value is; None where it is not flagged."""
    if not evaluation.anomaly_score[row] > 1.0:
        return None
    shape = 0 if evaluation.shape is None else int(evaluation.shape[row])
    return SHAPES.get(shape, "outside")


def _number(value: np.float64) -> float | None:
    return float(value) if np.isfinite(value) else None
