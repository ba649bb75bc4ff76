"""How far is too far: a threshold for each series that rises with its marginal alarms and sinks with quiet.

Adaptive conformal inference (Gibbs & Candès 2021) on alarms instead of points:
every alarm that barely crossed raises the series' threshold by a step, quiet
lowers it so that, left alone, marginal alarms come as often as the budget
says. An alarm far beyond the threshold teaches little: it is what the user
wants to hear of, not noise that happened to cross. While an alarm lasts the
threshold is a little lower (hysteresis), after its end higher for some hours,
so that one event is one alarm unless it clearly grows.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sidecar.engine.arrays import RowArrays
from sidecar.series import FloatArray

MONTH_SECONDS = 30 * 86400.0
# numba keys compiled loops by the caller's file: after a change here delete the `*.nbi` of ensemble_loop.py.
STEP = 0.1  # Of the logarithm of the threshold, for one marginal alarm.
CLEAR_TEACHES = 0.3  # Share of that step that an alarm teaches which is far beyond the threshold.
RARE_SECONDS = 600.0
"""With longer steps alarms teach less, by the root of the step: what lasts so long is noise less often."""
MARGINAL, CLEAR = 1.3, 3.0  # In thresholds: where marginal ends and clear begins.
LOWEST, HIGHEST = math.log(0.3), 3.0  # Bounds of the logarithm of the threshold.
HYSTERESIS = 0.9
AFTERMATH = 0.5  # By so much the threshold is higher just after an alarm,
AFTERMATH_SECONDS = 4 * 3600.0  # fading with this time constant.

TAIL_EXPONENT = 4.0
"""Tails of operations residuals fall about with this power: a budget of a sixteenth doubles the threshold."""

UNIT_BUDGET, UNIT_EXPONENT = 15.0, 0.7
"""The budget at steps of a minute that a statistic of 1 stands for, and how it falls with longer steps."""

LOG_THRESHOLD, IN_ALARM, ALARM_END, PEAK = range(4)


@njit(cache=True, inline="always")
def threshold_at(alarms, row, now, base):
    """The threshold that a point of this time has to pass, as it stood before the point."""
    threshold = base * math.exp(alarms[row, LOG_THRESHOLD])
    if alarms[row, IN_ALARM] > 0.0:
        return threshold * HYSTERESIS
    end = alarms[row, ALARM_END]
    if end > 0.0:
        threshold *= 1.0 + AFTERMATH * math.exp(-max(now - end, 0.0) / AFTERMATH_SECONDS)
    return threshold


@njit(cache=True, inline="always")
def learn_alarm(alarms, row, now, dt, value, threshold, per_second):
    """What a judged point means for the thresholds of later ones."""
    alarms[row, LOG_THRESHOLD] = max(alarms[row, LOG_THRESHOLD] - STEP * per_second * dt, LOWEST)
    if value > threshold:
        alarms[row, IN_ALARM] = 1.0
        alarms[row, PEAK] = max(alarms[row, PEAK], value / threshold)
    elif alarms[row, IN_ALARM] > 0.0:
        clear = min(max((alarms[row, PEAK] - MARGINAL) / (CLEAR - MARGINAL), 0.0), 1.0)
        taught = STEP * min(1.0, math.sqrt(RARE_SECONDS / dt)) * (1.0 - clear * (1.0 - CLEAR_TEACHES))
        alarms[row, LOG_THRESHOLD] = min(alarms[row, LOG_THRESHOLD] + taught, HIGHEST)
        alarms[row, IN_ALARM] = 0.0
        alarms[row, ALARM_END] = now
        alarms[row, PEAK] = 0.0


class AlarmBudget(RowArrays):
    """Thresholds by row, in units of the statistic that 1 was chosen to be unusual for. State 32 bytes a row.

    `budget_per_month`: marginal alarms a series and 30 days that quiet makes up for;
    the statistic's own unit stands for `UNIT_BUDGET` at `step_seconds`.
    """

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        super().__init__({"alarms": ((4,), np.float64)})
        self.per_second = budget_per_month / MONTH_SECONDS
        unit = UNIT_BUDGET * (60.0 / step_seconds) ** UNIT_EXPONENT
        self.base = (unit / budget_per_month) ** (1.0 / TAIL_EXPONENT)

    def thresholds(self) -> FloatArray:
        """The threshold of each row outside of alarms and their aftermath, shape (n_rows,)."""
        current: FloatArray = self.base * np.exp(self.arrays["alarms"][:, LOG_THRESHOLD])
        return current

    def renew_pool(self) -> None:
        """Nothing to do: rows need no pool to have a threshold from their first point."""
