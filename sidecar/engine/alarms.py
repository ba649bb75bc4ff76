"""How far is too far: a threshold for each series that rises with its marginal alarms and sinks with quiet.

Adaptive conformal inference (Gibbs & Candès 2021) on alarms instead of points:
every alarm that barely crossed raises the series' threshold by a step, quiet
lowers it so that, left alone, marginal alarms come as often as the budget
says. An alarm far beyond the threshold teaches little if it lasts: it is what
the user wants to hear of, not noise that happened to cross. Nor do alarms teach much on a
series that never came near its threshold without one: noise has a tail, with more of it
below a threshold than beyond, and what has none is a series of many incidents. What a single sample
raises is noise more often, however far it is, and teaches mostly points: a series of
many spikes is not to become deaf to shifts. While an alarm lasts the threshold
is a little lower (hysteresis), after its end higher for some hours, so that one
event is one alarm unless it clearly grows; and at short steps a sample alone has
to be further off than one after another.
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sidecar.engine.alarm_pool import AlarmPool
from sidecar.engine.arrays import RowArrays
from sidecar.series import FloatArray, RowArray

MONTH_SECONDS = 30 * 86400.0
# numba keys compiled loops by the caller's file: after a change here delete the `*.nbi` of ensemble_loop.py.
STEP = 0.35  # Of the logarithm of the threshold, for one marginal alarm.
CLEAR_TEACHES = 0.3  # Share of that step that a lasting alarm teaches which is far beyond the threshold.
LASTING_TEACHES, LASTS_SECONDS = 0.1, 1800.0
"""Share that an alarm of many samples teaches, if it is over long before the second: that is how events look.
What lasts longer is more often a series that has changed its ways."""
RARE_SECONDS = 400.0
"""With longer steps alarms teach less, and quiet too: what lasts so long is noise less often."""
RARELY_MOVES = 0.95
"""But not where this share of the samples repeats the one before (rare errors, mostly zero): there each
movement is an alarm, and with hours between samples it would take a year to learn that they are usual."""
SHARED, POINTS_FADE = 0.5, 0.5
"""What points teach is theirs, and this share of it all statistics'; the pace of quiet on what is theirs."""
SINKS, RISES_BELOW = 0.5, 0.75
"""Paces of quiet and of alarms below the threshold that a series began with: nothing is to be made up for."""
MARGINAL, CLEAR = 1.3, 3.0  # In thresholds: where marginal ends and clear begins.
LOWEST, HIGHEST = math.log(0.3), 3.0  # Bounds of the logarithm of the threshold.
HYSTERESIS = 0.9
AFTERMATH = 0.5  # By so much the threshold is higher just after an alarm,
AFTERMATH_SECONDS = 4 * 3600.0  # fading with this time constant.
ALONE = 1.3
"""By so much further off is a sample that follows one which was not unusual itself."""
LONGEST_WAIT_SECONDS = 600.0  # With longer steps no second sample is waited for.

NEAR = 0.65
"""From this part of the threshold on, a run of samples that stays below it is a near miss."""
NOISE_COMES_NEAR = 0.8
"""So many near misses an alarm are noise; fewer are less so. Of the tail below there are five an alarm."""
UNHEARD_OF = 2.0  # So many of each are supposed before any is seen.
LEAST_TAUGHT = 0.2  # What alarms teach where nothing ever comes near.
NEAR_SECONDS = 14 * 86400.0  # Memory of near misses and alarms.
CLEAR_OF_ALARM_SECONDS = 3600.0  # So long after an alarm's end, what is near is its aftermath.
MANY_SAMPLES_SECONDS = 200.0
"""With longer steps there are so few samples between two alarms that none near says nothing."""

ROOM = 2.0
"""Where no second sample is waited for, quiet comes too seldom to lower a threshold by steps: it is no
higher than so many times the furthest sample without an alarm,"""
FURTHEST_SECONDS = 14 * 86400.0  # which is forgotten in about this time,
LEAST_OF_QUIET = 0.6  # but for that no lower than this part of what a series begins with.

TAIL_EXPONENT = 4.0
"""Tails of operations residuals fall about with this power: a budget of a sixteenth doubles the threshold."""

UNIT_BUDGET, UNIT_EXPONENT = 11.0, 0.62
"""The budget at steps of a minute that a statistic of 1 stands for, and how it falls with longer steps."""

LOG_THRESHOLD, IN_ALARM, ALARM_END, PEAK, BEFORE, LENGTH, BY_POINT, LOG_OF_POINTS = range(8)
NOW_NEAR, NEAR_MISSES, TOLD, FURTHEST, GROWN, SPENT, ALLOWED = range(8, 15)
N_COLUMNS = 15


@njit(cache=True, inline="always")
def alone(alarms, row, dt):
    """The factor on the threshold of a sample after one that was not unusual."""
    return ALONE if alarms[row, BEFORE] <= 1.0 and dt <= LONGEST_WAIT_SECONDS else 1.0


@njit(cache=True, inline="always")
def threshold_at(alarms, row, now, dt, base):
    """The threshold that a point of this time has to pass, as it stood before the point."""
    threshold = base * with_quiet(math.exp(alarms[row, LOG_THRESHOLD]), alarms[row, FURTHEST], dt)
    if alarms[row, IN_ALARM] > 0.0:
        return threshold * HYSTERESIS
    factor = alone(alarms, row, dt)
    end = alarms[row, ALARM_END]
    if end > 0.0:
        factor = max(factor, 1.0 + AFTERMATH * math.exp(-max(now - end, 0.0) / AFTERMATH_SECONDS))
    return threshold * factor


@njit(cache=True, inline="always")
def with_quiet(learnt, furthest, dt):
    """The factor on the first threshold: what alarms taught, or less where nothing came near it."""
    if dt <= LONGEST_WAIT_SECONDS or furthest == 0.0:
        return learnt
    enough = min(max(ROOM * furthest, LEAST_OF_QUIET), 1.0)
    return min(learnt, enough) if learnt < 1.0 else learnt * enough


@njit(cache=True, inline="always")
def follow_furthest(alarms, row, dt, value, told):
    """Follow how far it goes without an alarm, `value` in first thresholds; an alarm begins that anew."""
    if dt <= LONGEST_WAIT_SECONDS:
        return
    if told or alarms[row, FURTHEST] == 0.0:
        alarms[row, FURTHEST] = max(alarms[row, FURTHEST], 1.0 / ROOM)
    fades = 1.0 - min(dt / FURTHEST_SECONDS, 1.0)
    alarms[row, FURTHEST] = max(alarms[row, FURTHEST] * fades, value)


@njit(cache=True, inline="always")
def of_points(alarms, row):
    """The factor on the threshold of a single point, for the points of this series that were noise."""
    return math.exp(alarms[row, LOG_OF_POINTS]) if alarms[row, LOG_OF_POINTS] > 0.0 else 1.0


@njit(cache=True, inline="always")
def learn_alarm(alarms, row, now, dt, value, threshold, per_second, by_point, base, repeats):
    """What a judged point means for later thresholds.

    `by_point`: no window said more than it; `base`: the threshold that a series begins with;
    `repeats`: the share of its samples that are as the one before.
    """
    step = STEP * (min(1.0, RARE_SECONDS / dt) if repeats < RARELY_MOVES else 1.0)
    quiet = step * per_second * dt
    if alarms[row, GROWN] > 0.0:
        alarms[row, ALLOWED] += per_second * dt
    pace = 1.0 if alarms[row, LOG_THRESHOLD] > 0.0 else SINKS
    alarms[row, LOG_THRESHOLD] = max(alarms[row, LOG_THRESHOLD] - pace * quiet, LOWEST)
    alarms[row, LOG_OF_POINTS] = max(alarms[row, LOG_OF_POINTS] - POINTS_FADE * quiet, 0.0)
    alarms[row, BEFORE] = value / threshold * (1.0 if alarms[row, IN_ALARM] > 0.0 else alone(alarms, row, dt))
    count_near(alarms, row, now, dt, value / threshold)
    if value > threshold:
        alarms[row, IN_ALARM] = 1.0
        alarms[row, LENGTH] += 1.0
        if value / threshold > alarms[row, PEAK]:
            alarms[row, PEAK], alarms[row, BY_POINT] = value / threshold, by_point
    elif alarms[row, IN_ALARM] > 0.0:
        follow_furthest(alarms, row, dt, 0.0, True)
        counts = share_of_noise(alarms, row, dt) * share_taught(alarms[row, PEAK], alarms[row, LENGTH], dt)
        raise_by(alarms, row, step * counts)
        if alarms[row, GROWN] > 0.0:
            alarms[row, SPENT] += counts
        alarms[row, TOLD] += 1.0
        alarms[row, IN_ALARM] = alarms[row, LENGTH] = alarms[row, PEAK] = 0.0
        alarms[row, ALARM_END] = now
    else:
        follow_furthest(alarms, row, dt, value / base, False)


@njit(cache=True, inline="always")
def count_near(alarms, row, now, dt, share):
    """Follow how often the series came near its threshold, at `share` of it now, and stayed below."""
    fades = NEAR_SECONDS / (NEAR_SECONDS + dt)
    alarms[row, NEAR_MISSES] *= fades
    alarms[row, TOLD] *= fades
    if share > 1.0 or alarms[row, IN_ALARM] > 0.0:
        alarms[row, NOW_NEAR] = 0.0
    elif share > NEAR:
        alarms[row, NOW_NEAR] = 1.0
    elif alarms[row, NOW_NEAR] > 0.0:
        alarms[row, NOW_NEAR] = 0.0
        if now - alarms[row, ALARM_END] > CLEAR_OF_ALARM_SECONDS:
            alarms[row, NEAR_MISSES] += 1.0


@njit(cache=True, inline="always")
def share_of_noise(alarms, row, dt):
    """Which part of what an alarm would teach it does, by how often the series came near without one."""
    if dt > MANY_SAMPLES_SECONDS:
        return 1.0
    an_alarm = (alarms[row, NEAR_MISSES] + UNHEARD_OF) / (alarms[row, TOLD] + UNHEARD_OF)
    return min(max(an_alarm / NOISE_COMES_NEAR, LEAST_TAUGHT), 1.0)


@njit(cache=True, inline="always")
def share_taught(peak, length, dt):
    """Which part of a step an alarm teaches that was so far off, in thresholds, and so long, in samples."""
    clear = min(max((peak - MARGINAL) / (CLEAR - MARGINAL), 0.0), 1.0) * (1.0 - 1.0 / length)
    noisy = max(1.0 / length, min(1.0, length * dt / LASTS_SECONDS))
    of_length = LASTING_TEACHES + (1.0 - LASTING_TEACHES) * noisy
    return of_length * (1.0 - clear * (1.0 - CLEAR_TEACHES))


@njit(cache=True, inline="always")
def raise_by(alarms, row, taught):
    """Raise the threshold of all statistics, or partly that of points, by what an alarm taught."""
    if alarms[row, BY_POINT] > 0.0:
        alarms[row, LOG_OF_POINTS] = min(alarms[row, LOG_OF_POINTS] + taught, HIGHEST)
        taught *= SHARED
    if alarms[row, LOG_THRESHOLD] < 0.0:
        taught *= RISES_BELOW
    alarms[row, LOG_THRESHOLD] = min(alarms[row, LOG_THRESHOLD] + taught, HIGHEST)


@njit(cache=True, nogil=True)
def with_quiet_of_all(alarms, dt):
    """`with_quiet` of each row, shape (n_rows,)."""
    factors = np.empty(len(alarms))
    for row in range(len(alarms)):
        factors[row] = with_quiet(math.exp(alarms[row, LOG_THRESHOLD]), alarms[row, FURTHEST], dt)
    return factors


class AlarmBudget(RowArrays):
    """Thresholds by row, in units of the statistic that 1 was chosen to be unusual for.

    State 120 bytes a row and 16 for all.
    `budget_per_month`: marginal alarms a series and 30 days that quiet makes up for;
    the statistic's own unit stands for `UNIT_BUDGET` at `step_seconds`.
    """

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        super().__init__({"alarms": ((N_COLUMNS,), np.float64)})
        self.per_second = budget_per_month / MONTH_SECONDS
        unit = UNIT_BUDGET * (60.0 / step_seconds) ** UNIT_EXPONENT
        self.first = (unit / budget_per_month) ** (1.0 / TAIL_EXPONENT)
        self._step_seconds = step_seconds
        self._pool = AlarmPool(budget_per_month, step_seconds, TAIL_EXPONENT)

    @property
    def base(self) -> float:
        """The threshold of a grown row that has learnt nothing of its own; a young one has `first`."""
        return self.first * self._pool.factor

    def thresholds(self) -> FloatArray:
        """The threshold of each row's points outside of alarms and their aftermath, shape (n_rows,)."""
        alarms = self.arrays["alarms"]
        learnt = with_quiet_of_all(alarms, self._step_seconds)
        base = np.where(alarms[:, GROWN] > 0.0, self.base, self.first)
        current: FloatArray = base * learnt * np.exp(alarms[:, LOG_OF_POINTS])
        return current

    def adopt(self, rows: RowArray, donors: RowArray, now_ms: int) -> None:
        """Let `rows` have the donors' thresholds, but no alarm of theirs.

        A birth is an upset of its own: for some hours the bar is as high as after an alarm.
        """
        self.copy_rows(rows, donors)
        alarms = self.arrays["alarms"]
        for column in (IN_ALARM, PEAK, BEFORE, LENGTH, NOW_NEAR, SPENT, ALLOWED):
            alarms[rows, column] = 0.0
        alarms[rows, ALARM_END] = now_ms / 1000.0

    def renew_pool(self) -> None:
        """Let all rows' thresholds follow what they told since the last time, together."""
        alarms = self.arrays["alarms"]
        judged = alarms[alarms[:, ALLOWED] > 0.0]
        if len(judged):
            seconds = float(judged[:, ALLOWED].max()) / self.per_second
            self._pool.learn(judged[:, SPENT], judged[:, ALLOWED], judged[:, LOG_THRESHOLD], seconds)
        alarms[:, SPENT] = alarms[:, ALLOWED] = 0.0

    def state(self) -> dict[str, NDArray[Any]]:
        """The rows' thresholds, and what all have told together."""
        return super().state() | {"pool": self._pool.state()}

    def restore(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take what `state` once gave. Raises: ModelError."""
        super().restore({name: array for name, array in state.items() if name != "pool"})
        self._pool.restore(state.get("pool", np.empty(0)))
        return self
