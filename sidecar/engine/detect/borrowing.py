"""What the grown series of a query have in common, for the default detector's young ones to start with.

Scales are compared in the unit in which the grown agree better: their own level
(requests, bytes: the large vary more) or the unit of the query (degrees, shares).
Of each, three in four have less. One series more in the pool can therefore move
what is borrowed no further than to the next member's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidecar.engine.detect.ensemble_parts import DAY_SECONDS, LEVEL_FLOOR, WARM_UP_SAMPLES
from sidecar.engine.detect.ensemble_state import (
    DAY_BINS,
    DAY_LEVEL,
    DAY_SLOW,
    DOWN,
    DOWN_SLOW,
    DRIFT,
    FAST,
    FIRST,
    LONG_MEAN,
    LONG_SQUARE,
    LOSS,
    N_DOWN,
    N_UP,
    REPEAT_SHARE,
    SAMPLES,
    SLOWER,
    SLOWEST,
    UP,
    UP_SLOW,
)
from sidecar.engine.profile import place
from sidecar.series import BoolArray, FloatArray, RowArray

LEAST_ELDERS, MOST_ELDERS = 5, 1000
"""Fewer have nothing in common that one more could not change; more tell nothing new."""

SHARE = 0.75
"""Of the elders have no more than what is borrowed: a band too wide for an hour beats one too narrow."""

ALIKE = 4.0  # Elders agree where the upper quartile of their noise is at most so many lower ones.
ONE_SIDED = 0.8  # Of the elders on one side of 0, and the others do not count.
REACH = 10.0  # A level so many times beyond those of the elders is none like theirs,
OWN_NOISE = 5.0  # nor is a series that varies so many times as much from its start,
QUIETEST = 0.05
"""or so small a part of it: what it borrowed would blind for days. Chance makes the first samples of a series
like theirs no quieter, unless the elders repeat themselves: then the samples may all be the same.
"""

REPEATERS = 0.3  # Of their samples repeat the one before.
IN_PHASE, IN_PHASE_SHARE = 0.7, 0.8
"""Days agree where so many of the elders' correlate so well with the middle one."""

SEASON = 0.5  # A day is worth having where its deviation is so many of the usual noise.
LEAST_PART = 0.2  # Of the day's mean: where less is expected now, a level says little of the day.

HOURS_A_BIN = 24.0 / DAY_BINS

SCALES = (UP, DOWN, UP_SLOW, DOWN_SLOW, DRIFT, *range(LOSS, LOSS + 9))
SLOW_SCALES = tuple(SCALES.index(column) for column in (UP_SLOW, DOWN_SLOW))


@dataclass(frozen=True)
class Lesson:
    """What elders share. `relative`: scales and `day` are in parts of a series' level.

    `scales`: of the columns `SCALES`. `spread`: what seasons leave. `cycle`: the deviation of a
    day. `day`: its course around 0, (DAY_BINS,), None where they agree on none. `levels`: the
    least and the largest of a series like them. `repeat`: whether samples often repeat the one before.
    """

    relative: bool
    noise: float
    scales: FloatArray
    spread: float
    cycle: float
    day: FloatArray | None
    levels: tuple[float, float]
    log_threshold: float
    repeat: bool

    def fits(self, level: FloatArray, noise: FloatArray) -> BoolArray:
        """Which of the young, by level and noise so far, are like the elders."""
        low, high = self.levels
        usual = self.noise * self.unit(level)
        as_loud = noise <= OWN_NOISE * usual
        as_quiet = np.maximum(noise, LEVEL_FLOOR * np.abs(level)) >= QUIETEST * usual
        if self.repeat:
            as_quiet |= noise == 0
        return (level >= low) & (level <= high) & as_loud & as_quiet

    def unit(self, level: FloatArray) -> FloatArray:
        """What the lesson's numbers are to be multiplied with."""
        return np.abs(level) if self.relative else np.ones_like(level)

    def of_day(self, level: FloatArray, seconds: float) -> tuple[FloatArray, FloatArray] | None:
        """The mean of a day and its bins, (n,) and (n, DAY_BINS), of series at `level` now."""
        if self.day is None:
            return None
        first, second, share = place(seconds, DAY_BINS, DAY_BINS / 24.0)
        now = (1.0 - share) * self.day[first] + share * self.day[second]
        if not self.relative:
            mean = level - now
        else:
            # Elders, and those like them, are on one side of 0 where scales are in parts of the level.
            of_mean = 1.0 + np.sign(level[0]) * now
            if of_mean < LEAST_PART:
                return None
            mean = level / of_mean
        return mean, mean[:, None] + self.unit(mean)[:, None] * self.day


def lesson(
    scalars: FloatArray, day: FloatArray, day_mass: FloatArray, log_threshold: FloatArray, elders: RowArray
) -> Lesson | None:
    """What these rows share; None where they are too few or have nothing in common."""
    if len(elders) < LEAST_ELDERS:
        return None
    by_level = elders[np.argsort(scalars[elders, LONG_MEAN], kind="stable")]
    elders = by_level[np.linspace(0, len(elders) - 1, min(len(elders), MOST_ELDERS)).astype(np.int64)]
    side = np.sign(np.median(scalars[elders, LONG_MEAN]))
    same_side = scalars[elders, LONG_MEAN] * side > 0
    one_sided = bool(same_side.mean() >= ONE_SIDED)
    if one_sided:
        elders = elders[same_side]
    of = scalars[elders]
    level = of[:, LONG_MEAN]
    noise = np.maximum(0.5 * (of[:, UP] + of[:, DOWN]), LEVEL_FLOOR * np.abs(level)) + 1e-300
    units = (np.maximum(np.abs(level), 1e-300), np.ones(len(elders)))
    spreads = [_ratio_of_quartiles(noise / unit) for unit in units]
    relative = one_sided and spreads[0] <= spreads[1]
    unit = units[0 if relative else 1]
    if spreads[0 if relative else 1] > ALIKE:
        return None
    scales = np.quantile(of[:, SCALES] / unit[:, None], SHARE, axis=0)
    spread = float(np.quantile(np.sqrt(of[:, LONG_SQUARE]) / unit, SHARE))
    usual = float(np.quantile(noise / unit, SHARE))
    course, cycle = _shared_day(day[elders], day_mass[elders], unit, usual)
    return Lesson(
        relative,
        usual,
        scales,
        spread,
        cycle,
        course,
        _levels(level, relative=relative),
        float(np.quantile(log_threshold[elders], SHARE)),
        bool(np.median(of[:, REPEAT_SHARE]) >= REPEATERS),
    )


def _ratio_of_quartiles(noise: FloatArray) -> float:
    low, high = np.quantile(noise, (0.25, 0.75))
    return float(high / low)


def _levels(level: FloatArray, *, relative: bool) -> tuple[float, float]:
    low, high = (float(one) for one in np.quantile(level, (0.1, 0.9)))
    if not relative:
        room = REACH * max(high - low, 0.1 * max(abs(low), abs(high)))
        return low - room, high + room
    return (low / REACH, high * REACH) if low > 0 else (low * REACH, high / REACH)


def _shared_day(
    day: FloatArray, mass: FloatArray, unit: FloatArray, noise: float
) -> tuple[FloatArray | None, float]:
    """The middle course of a day and how much days deviate; no course where elders agree on none."""
    whole = (mass > 0).all(axis=1)
    if whole.sum() < LEAST_ELDERS:
        return None, 0.0
    courses = (day[whole] - day[whole].mean(axis=1, keepdims=True)) / unit[whole, None]
    sizes = courses.std(axis=1)
    middle: FloatArray = np.median(courses, axis=0)
    middle = middle - middle.mean()
    size = middle.std()
    cycle = float(np.quantile(sizes, SHARE))
    if size <= SEASON * noise:
        return None, cycle
    likeness = (courses * middle).mean(axis=1) / np.maximum(sizes * size, 1e-300)
    return (middle if (likeness >= IN_PHASE).mean() >= IN_PHASE_SHARE else None), cycle


def begin(scalars: FloatArray, rows: RowArray, shared: Lesson) -> None:
    """Give rows the scales of a lesson, as if they had seen just enough to be judged."""
    level = scalars[rows, FAST]
    unit = shared.unit(level)
    scales = np.repeat(shared.scales[None, :], len(rows), axis=0)
    if shared.day is None:
        # The slow centres do not know the cycle yet that the elders' do.
        scales[:, SLOW_SCALES] += shared.cycle
    scalars[np.ix_(rows, SCALES)] = scales * unit[:, None]
    scalars[rows, LONG_SQUARE] = (shared.spread * unit) ** 2
    for column in (SLOWER, SLOWEST, LONG_MEAN):
        scalars[rows, column] = level
    for column in (N_UP, N_DOWN, SAMPLES):
        scalars[rows, column] = np.maximum(scalars[rows, column], WARM_UP_SAMPLES)


def begin_day(
    scalars: FloatArray,
    day: FloatArray,
    day_mass: FloatArray,
    rows: RowArray,
    shared: Lesson,
    seconds: float,
) -> None:
    """Give rows the course of a day that the elders share, around their own level."""
    found = shared.of_day(scalars[rows, FAST], seconds)
    if found is None:
        return
    mean, bins = found
    day[rows] = bins
    day_mass[rows] = HOURS_A_BIN  # As if one day had been seen.
    for column in (DAY_LEVEL, DAY_SLOW):
        scalars[rows, column] = 0.0
    for column in (SLOWEST, LONG_MEAN):
        scalars[rows, column] = mean
    scalars[rows, FIRST] = seconds - DAY_SECONDS - 1.0
