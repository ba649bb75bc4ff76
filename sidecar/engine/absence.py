"""Which series stopped: known ones without a sample, of whose family nothing is left either.

Pods and instances come and go, so a series that is gone while its siblings live
is churn. A family is the series that differ only in the labels of `PASSING`.
"""

from __future__ import annotations

import numpy as np

from sidecar.engine.index import GONE, SeriesIndex
from sidecar.series import BoolArray, LabelSet, RowArray

PASSING = (
    "pod",
    "pod_name",
    "pod_ip",
    "instance",
    "container_id",
    "uid",
    "replicaset",
    "pod_template_hash",
)
"""Labels whose values name something that is replaced, not repaired."""

MISSED_STEPS = 2
KNOWN_SAMPLES = 20
"""A series that was seen less often is not missed: it may have been a test or a mistake."""


class Absence:
    """Tells of the rows of an index which are missed; keeps only what follows from the labels."""

    def __init__(self, step_seconds: float, *, by_family: bool = True) -> None:
        self._patience_ms = MISSED_STEPS * step_seconds * 1000
        self._by_family = by_family
        self._labels: tuple[LabelSet, ...] | None = None
        self._family: RowArray = np.zeros(0, dtype=np.int64)
        self._in_use: BoolArray = np.zeros(0, dtype=np.bool_)

    def missed(self, index: SeriesIndex, seen_points: RowArray, now_ms: int) -> BoolArray:
        """Rows, (N,), that had samples and have none for `MISSED_STEPS`; until the index retires them."""
        if index.labels is not self._labels:
            self._learn(index.labels)
        silent = now_ms - index.last_seen_ms >= self._patience_ms
        known = self._in_use & (seen_points >= KNOWN_SAMPLES)
        alive = np.bincount(self._family, weights=self._in_use & ~silent, minlength=1) > 0
        return np.asarray(known & silent & ~alive[self._family])

    def _learn(self, labels: tuple[LabelSet, ...]) -> None:
        self._labels = labels
        self._in_use = np.array([label_set is not GONE for label_set in labels], dtype=np.bool_)
        if not self._by_family:
            self._family = np.arange(len(labels))
            return
        numbers: dict[LabelSet, int] = {}
        self._family = np.fromiter(
            (numbers.setdefault(label_set.without(*PASSING), len(numbers)) for label_set in labels),
            dtype=np.int64,
            count=len(labels),
        )
