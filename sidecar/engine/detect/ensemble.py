"""The default detector: six centres that compete on each series, judged over one, five and fifteen points.

Fast and slow means, the last value, a trend, a daily and a weekly profile each
predict every point; they are mixed by how well they did so far. The residual is
measured against a long robust scale with floors tied to the series' own spread
and level, alone and as mean of the last 5 and 15, and once more against slow
centres that a shift does not pull along. Two questions are about shape: does a
day drift from its week, does a series stand still that never did? The largest
answer, each in units in which 1 is unusual, meets the threshold of `alarms`. The
band holds exactly the values that would not be flagged, but for the shapes.
"""

from __future__ import annotations

import numpy as np

from sidecar.engine.alarms import (
    ALARM_END,
    LOG_OF_POINTS,
    LOG_THRESHOLD,
    AlarmBudget,
)
from sidecar.engine.arrays import RowArrays
from sidecar.engine.detect.borrowing import begin, begin_day, lesson
from sidecar.engine.detect.ensemble_loop import UNITS, run
from sidecar.engine.detect.ensemble_minutes import MINUTES
from sidecar.engine.detect.ensemble_parts import expect
from sidecar.engine.detect.ensemble_state import (
    DAY_BINS,
    DAY_LEVEL,
    DAY_SLOW,
    DOWN,
    FAST,
    HOURS,
    LARGEST,
    LAST,
    LAST_LESS_HOUR,
    LAST_TIME,
    LONGEST,
    N_ACCEPTED,
    N_SCALARS,
    OUTSIDE_SECONDS,
    REPEATS,
    SAMPLES,
    SAVED_VALUE,
    SLOWER,
    SUM_5,
    SUM_15,
    SUSPICION,
    TREND,
    TREND_LEVEL,
    UP,
    VISITED,
    WEEK_BINS,
    WEEK_LEVEL,
    WEEK_SLOW,
)
from sidecar.engine.detect.habit import BINS
from sidecar.engine.protocols import Judged
from sidecar.series import FloatArray, RowArray, SeriesBatch, TimeArray


class EnsembleDetector(RowArrays):
    """The detector `ensemble`; see the module's docstring. A unit of infinity leaves a part out.

    State 4,480 bytes a series with its threshold.
    """

    def __init__(
        self,
        budget_per_month: float,
        step_seconds: float,
        units: tuple[float, ...] = UNITS,
    ) -> None:
        super().__init__(
            {
                "scalars": ((N_SCALARS,), np.float64),
                "day": ((DAY_BINS,), np.float64),
                "day_mass": ((DAY_BINS,), np.float32),
                "week": ((WEEK_BINS,), np.float32),
                "week_mass": ((WEEK_BINS,), np.float32),
                "recent": ((LONGEST,), np.float64),
                "minutes": ((MINUTES,), np.float32),
                "noise": ((HOURS,), np.float32),
                "noise_mass": ((HOURS,), np.float32),
                "hourly": ((HOURS,), np.float64),
                "habits": ((BINS,), np.float32),
                "habit_sizes": ((BINS,), np.float32),
            }
        )
        self._units = np.array(units)
        self._step_seconds = step_seconds
        self.calibrator = AlarmBudget(budget_per_month, step_seconds)

    def judge(self, batch: SeriesBatch) -> Judged:
        """Judge and learn the columns in order of time; see `Detector.judge`."""
        value, q, usual, yhat, lower, upper = (np.full(batch.values.shape, np.nan) for _ in range(6))
        shape = np.zeros(batch.values.shape, dtype=np.int8)
        accepted = self.arrays["scalars"][:, N_ACCEPTED].copy()
        run(
            *self._arrays(),
            self._units,
            self.calibrator.arrays["alarms"],
            self.calibrator.first,
            self.calibrator.base,
            self.calibrator.per_second,
            batch.timestamps / 1000.0,
            np.ascontiguousarray(batch.values),
            value,
            q,
            shape,
            usual,
            yhat,
            lower,
            upper,
        )
        newly = self.arrays["scalars"][:, N_ACCEPTED] > accepted
        return Judged(value / q, yhat, lower, upper, shape, usual, newly)

    def adopt(self, rows: RowArray, donors: RowArray, now_ms: int) -> None:
        """Take the donors' seasons, scales and slow levels; what moves by the minute starts from these."""
        self.copy_rows(rows, donors)
        self.calibrator.adopt(rows, donors, now_ms)
        now = np.array([now_ms], dtype=np.int64)
        scalars = self.arrays["scalars"]
        level = self.expect(now)[0][rows, 0]
        for column in (FAST, SLOWER, LAST, TREND_LEVEL):
            scalars[rows, column] = level
        for column in (TREND, OUTSIDE_SECONDS, SUM_5, SUM_15, REPEATS, SUSPICION, VISITED, LARGEST):
            scalars[rows, column] = 0.0
        scalars[rows, DAY_LEVEL] = scalars[rows, DAY_SLOW]
        scalars[rows, WEEK_LEVEL] = scalars[rows, WEEK_SLOW]
        scalars[rows, SAVED_VALUE] = scalars[rows, LAST_LESS_HOUR] = np.nan
        scalars[rows, LAST_TIME] = now_ms / 1000.0 - self._step_seconds
        self.arrays["recent"][rows] = 0.0

    def borrow(self, rows: RowArray, elders: RowArray, now_ms: int) -> RowArray:
        """Give rows that have seen little the scales, thresholds and day that `elders` share.

        Their levels stay their own. Returns: the rows that are like the elders and took it.
        """
        scalars, day, day_mass = self._arrays()[:3]
        alarms = self.calibrator.arrays["alarms"]
        rows = rows[scalars[rows, SAMPLES] > 0]
        # A newcomer's points are judged as strictly as theirs are, and so are its windows.
        log_threshold = alarms[:, LOG_THRESHOLD] + alarms[:, LOG_OF_POINTS]
        shared = lesson(scalars, day, day_mass, log_threshold, elders) if len(rows) else None
        if shared is None:
            return rows[:0]
        level = scalars[rows, FAST]
        rows = rows[shared.fits(level, 0.5 * (scalars[rows, UP] + scalars[rows, DOWN]))]
        if not len(rows):
            return rows
        begin(scalars, rows, shared)
        begin_day(scalars, day, day_mass, rows, shared, now_ms / 1000.0)
        alarms[rows, LOG_THRESHOLD] = shared.log_threshold
        alarms[rows, ALARM_END] = now_ms / 1000.0  # As after an adoption.
        return rows

    def settle(self, rows: RowArray) -> None:
        """As if an alarm had lasted long enough to be accepted; see `Settler`."""
        self.arrays["scalars"][rows, OUTSIDE_SECONDS] = np.inf

    def expect(self, timestamps: TimeArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Centre, scale down and up by season alone; see `Detector.expect`."""
        yhat, down, up = (np.full((self.n_rows, len(timestamps)), np.nan) for _ in range(3))
        scalars, day, day_mass, week, week_mass = self._arrays()[:5]
        expect(scalars, day, day_mass, week, week_mass, timestamps / 1000.0, yhat, down, up)
        return yhat, down, up
