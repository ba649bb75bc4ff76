"""What detectors that are fitted and judge a course have in common: no band, no side, fits elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor, Future
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from sidecar.engine.arrays import RowArrays
from sidecar.engine.calibrate import Calibrator
from sidecar.engine.protocols import NO_SIDE, Judged
from sidecar.series import FloatArray, RowArray, TimeArray

F = TypeVar("F")


def judged_by_course(score: FloatArray, centre: FloatArray) -> Judged:
    """What a statistic of a course comes to: a flag by shape, inside a band that is as wide as can be.

    A threshold on it says nothing of single values: a band made of it would flag those that it leaves alone.
    """
    with np.errstate(invalid="ignore"):
        shape = np.where(score > 1.0, np.int8(NO_SIDE), np.int8(0))
    known = np.where(np.isfinite(score), 0.0, np.nan)
    return Judged(score, centre, known - np.inf, known + np.inf, shape)


class CourseDetector(RowArrays, Generic[F]):
    """Rows, a threshold, and a fit `F` made where nobody waits for it; until then the one before serves.

    `trainer`: where fits run; None: at once, by whoever makes them.
    """

    def __init__(
        self,
        layout: Mapping[str, tuple[tuple[int, ...], DTypeLike]],
        budget_per_month: float,
        step_seconds: float,
    ) -> None:
        super().__init__(layout)
        self.calibrator = Calibrator(budget_per_month, step_seconds)
        self.trainer: Executor | None = None
        self.n_failed_fits = 0
        self._coming: Future[F] | None = None

    def adopt(self, rows: RowArray, donors: RowArray, now_ms: int) -> None:
        """Take all that the donors know, thresholds included; see `Detector.adopt`."""
        self.copy_rows(rows, donors)
        self.calibrator.copy_rows(rows, donors)

    def put_aside(self, trainer: Executor) -> None:
        """Fit in `trainer` from now on."""
        self.trainer = trainer

    def work(self, seconds: float) -> int:
        """Nothing is put aside but fits."""
        return 0

    def expect(self, timestamps: TimeArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Nothing is expected of other times: a course has a shape, or others to go with, but no level."""
        unknown = np.full((self.n_rows, len(timestamps)), np.nan)
        return unknown, unknown.copy(), unknown.copy()

    def _judged(self, timestamps: TimeArray, value: FloatArray, centre: FloatArray) -> Judged:
        """The statistic by its threshold; see `judged_by_course`."""
        return judged_by_course(value / self.calibrator.update(timestamps, value), centre)

    def _arrived(self) -> F | None:
        """A fit that was made elsewhere since; where it failed, the one before serves on."""
        if self._coming is None or not self._coming.done():
            return None
        coming, self._coming = self._coming, None
        if coming.cancelled() or coming.exception() is not None:
            self.n_failed_fits += 1
            return None
        return coming.result()
