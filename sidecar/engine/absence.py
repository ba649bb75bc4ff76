"""Which series stopped: known ones without a sample, of whose family nothing is left either.

Pods and instances come and go, so a series that is gone while its siblings live
is churn.
"""

from __future__ import annotations

import numpy as np

from sidecar.engine.families import Families
from sidecar.engine.index import SeriesIndex
from sidecar.series import BoolArray, RowArray

MISSED_STEPS = 2
KNOWN_SAMPLES = 20
"""A series that was seen less often is not missed: it may have been a test or a mistake."""


class Absence:
    """Tells which rows of an index are missed; keeps nothing of them."""

    def __init__(self, step_seconds: float, *, by_family: bool = True) -> None:
        self._patience_ms = MISSED_STEPS * step_seconds * 1000
        self._by_family = by_family

    def missed(self, index: SeriesIndex, families: Families, seen_points: RowArray, now_ms: int) -> BoolArray:
        """Rows, (N,), that had samples and have none for `MISSED_STEPS`; until the index retires them.

        `families` follows the labels of the index.
        """
        silent = now_ms - index.last_seen_ms >= self._patience_ms
        missed = families.in_use & (seen_points >= KNOWN_SAMPLES) & silent
        if self._by_family:
            alive = np.bincount(families.of_row, weights=families.in_use & ~silent, minlength=1) > 0
            missed &= ~alive[families.of_row]
        return np.asarray(missed)
