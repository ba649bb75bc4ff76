"""Detectors that are one compiled loop over a statistic, with peaks-over-threshold calibration around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from sidecar.engine.arrays import RowArrays, measurements
from sidecar.engine.calibrate import Calibrator
from sidecar.engine.detect.course import judged_by_course
from sidecar.engine.protocols import Judged, Statistic
from sidecar.series import FloatArray, RowArray, SeriesBatch, TimeArray

CENTRE, SCALE_DOWN, SCALE_UP, SAMPLES, LAST_SECONDS = range(5)
N_NOW = 5
"""Every such detector keeps an array `now` with these columns, and may keep more behind them."""

LEVEL_FLOOR = 0.002  # Of the centre: a scale is no smaller, or any change of a constant would be unusual.
MAX_GAP_SECONDS = 6 * 3600.0  # What a longer gap counts as.


class CalibratedDetector(RowArrays):
    """A loop `run(*arrays, seconds, x, value, yhat, down, up)` that judges, then learns, column by column.

    It fills `value` with the statistic (NaN while it cannot say), `yhat`, `down` and
    `up` with centre and scales as they stood before the point, and leaves the newest
    of the three in `now`. `of_course`: the statistic speaks of the course of the
    series, so that a flagged value may lie inside the band. Without `band` no value is
    flagged for where it lies: the threshold is of something else than distances.
    """

    def __init__(
        self,
        run: Callable[..., None],
        layout: Mapping[str, tuple[tuple[int, ...], DTypeLike]],
        budget_per_month: float,
        step_seconds: float,
        *,
        of_course: bool = False,
        band: bool = True,
    ) -> None:
        super().__init__(layout)
        self._run = run
        self._of_course = of_course
        self._band = band
        self.calibrator = Calibrator(budget_per_month, step_seconds)

    def judge(self, batch: SeriesBatch) -> Judged:
        """Judge and learn the columns in order of time; see `Detector.judge`."""
        found = self.update(batch)
        q = self.calibrator.update(batch.timestamps, found.value)
        score = found.value / q
        lower, upper = found.yhat - q * found.scale_down, found.yhat + q * found.scale_up
        if not self._of_course:
            return Judged(score, found.yhat, lower, upper)
        by_course = judged_by_course(score, found.yhat)
        return replace(by_course, lower=lower, upper=upper) if self._band else by_course

    def adopt(self, rows: RowArray, donors: RowArray, now_ms: int) -> None:
        """Take all that the donors know, thresholds included; see `Detector.adopt`."""
        self.copy_rows(rows, donors)
        self.calibrator.copy_rows(rows, donors)

    def update(self, batch: SeriesBatch) -> Statistic:
        """The bare statistic of the columns, learning them."""
        value, yhat, down, up = (np.full(batch.values.shape, np.nan) for _ in range(4))
        x = measurements(batch.values)
        self._run(*self._arrays(), batch.timestamps / 1000.0, x, value, yhat, down, up)
        return Statistic(value, yhat, down, up)

    def expect(self, timestamps: TimeArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Centre, scale down and up as they stand now, at any time; see `Detector.expect`."""
        now = self.arrays["now"]
        known = now[:, SAMPLES] > 0

        def steady(column: FloatArray) -> FloatArray:
            held: FloatArray = np.repeat(np.where(known, column, np.nan)[:, None], len(timestamps), 1)
            return held

        least = LEVEL_FLOOR * np.abs(now[:, CENTRE]) + 1e-9
        down, up = (np.maximum(now[:, column], least) for column in (SCALE_DOWN, SCALE_UP))
        return steady(now[:, CENTRE]), steady(down), steady(up)


def window_layout(n_window: int) -> dict[str, Any]:
    """State of a detector that looks at the last `n_window` samples."""
    return {"now": ((N_NOW,), np.float64), "recent": ((n_window,), np.float64)}
