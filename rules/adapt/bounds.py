"""The forms that a threshold may have: one number, a table by hour of week, a line through time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from rules.adapt.state import is_state
from rules.adapt.whole import most_of, tier_end
from rules.document import literal_expr
from rules.learn import HOURS, Segment, Threshold, outward, threshold_by_hour
from rules.rewrite import plain_number, with_bound, with_threshold
from sidecar.promql.threshold import Comparison
from sidecar.series import BoolArray, FloatArray, LabelSet, TimeArray

HOUR_MS = 3_600_000
EPOCH_HOUR = 96
"""The epoch's hour of the week, counted from Sunday 00:00 UTC: a Thursday."""

WEEKS_OF_HOURS = 3
"""An hour of the week must be seen so often to be known; before that days are taken to be alike."""

INFINITE = 1e299
"""What is as great stands for an infinite value, as a ratio over nothing is."""

HALFWAY = 0.5
"""Hours of a table keep that share of the way from their middle to what nothing can go beyond."""

LEAST_SHARE = 0.1
"""From below they keep that share of their middle: at a number of 0 no outage is told of in that hour."""

HARDLY_EVER = 0.01
"""So rarely may normal life be lower; where it is so more often, nothing tells an outage from it."""

TREND_DAYS_AHEAD = 60
"""A line is followed so far past what it was learned on, and stays level from there on."""


class Bound(Protocol):
    """A threshold of one form. Arrays in, arrays out; `rewritten` is PromQL."""

    @property
    def form(self) -> str:
        """static, by hour or trend."""
        ...

    def at(self, times: TimeArray) -> FloatArray:
        """The threshold at each time (int64 ms): (T,)."""
        ...

    def rewritten(self, expr: str) -> str:
        """The expression with this bound. Raises: ValueError where its text allows none."""
        ...

    def words(self) -> str:
        """For people."""
        ...


@dataclass(frozen=True, slots=True)
class Static:
    """One number."""

    value: float
    form = "static"

    def at(self, times: TimeArray) -> FloatArray:
        """The number, everywhere."""
        return np.full(times.shape, self.value)

    def rewritten(self, expr: str) -> str:
        """The number in place of the old one."""
        return with_threshold(expr, self.value)

    def words(self) -> str:
        """The number."""
        return f"{self.value:g}"


@dataclass(frozen=True, slots=True)
class ByHour:
    """A table by hour of day or week (UTC)."""

    table: Threshold
    form = "by hour"

    def at(self, times: TimeArray) -> FloatArray:
        """The hour's number at each time."""
        by_hour: FloatArray = np.array(self.table.by_hour())[hour_of_week(times)]
        return by_hour

    def rewritten(self, expr: str) -> str:
        """The table joined without labels, so that the alert keeps its own."""
        lines = literal_expr(self.table).replace("\n", "\n  ")
        return with_bound(expr, f"on () group_left () (\n  {lines}\n)")

    def words(self) -> str:
        """Least and greatest number."""
        values = self.table.by_hour()
        what = "hour of day" if self.table.period == 24 else "hour of week"
        return f"{min(values):g} to {max(values):g} by {what}"

    def moved(self, to: Callable[[float], float]) -> ByHour:
        """The table with each of its numbers moved; neighbours that become equal are one."""
        return self._with([to(each.value) for each in self.table.segments])

    def at_least(self, floors: FloatArray) -> ByHour:
        """The table with no number below the least floor (168,), by hour of week, of its hours; 0 is none."""
        by_clock = floors.reshape(-1, self.table.period).min(axis=0)
        least = [float(by_clock[each.first : each.end].min()) for each in self.table.segments]
        return self._with(
            [
                float(f"{floor:.2g}") if 0 < floor > each.value else each.value
                for each, floor in zip(self.table.segments, least, strict=True)
            ]
        )

    def _with(self, values: Sequence[float]) -> ByHour:
        segments: list[Segment] = []
        for each, value in zip(self.table.segments, values, strict=True):
            if segments and segments[-1].value == value:
                segments[-1] = replace(segments[-1], end=each.end)
            else:
                segments.append(replace(each, value=value))
        return ByHour(replace(self.table, segments=tuple(segments)))


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through time, level after `until_seconds`; seconds since the epoch."""

    at_zero: float
    per_second: float
    zero_seconds: float
    until_seconds: float
    form = "trend"

    def at(self, times: TimeArray) -> FloatArray:
        """The line."""
        seconds = np.minimum(times / 1000, self.until_seconds)
        line: FloatArray = self.at_zero + self.per_second * (seconds - self.zero_seconds)
        return line

    def rewritten(self, expr: str) -> str:
        """The line as arithmetic on time()."""
        zero, until = plain_number(self.zero_seconds), plain_number(self.until_seconds)
        now = f"scalar(clamp_max(vector(time()), {until}))"
        line = f"({plain_number(self.at_zero)} + {plain_number(self.per_second)} * ({now} - {zero}))"
        return with_bound(expr, line)

    def words(self) -> str:
        """Where it began and how it goes."""
        return f"{self.at_zero:g} and {self.per_second * 86_400 * 7:+.3g} a week"


@dataclass(frozen=True)
class Family:
    """Bounds of one form, from tight to loose: `make(level)`, and the levels worth trying, ascending.

    `relative` (N, T): what is held against the level; the greater, the further on the bad side.
    `middle`: its median in normal life; `spread`: by how much a series moves there, around its own median.
    `end`: the level that nothing can go beyond; infinite where none is known. `beyond`: levels of which a
    rule tells nothing, ever: the last resort.
    """

    form: str
    make: Callable[[float], Bound]
    levels: Sequence[float]
    relative: FloatArray
    middle: float
    spread: float
    end: float = math.inf
    beyond: Sequence[float] = ()

    def whole(self) -> Family:
        """The same with the last resort among its levels."""
        return replace(self, levels=sorted({*self.levels, *self.beyond}), beyond=())


def hour_of_week(times: TimeArray) -> np.ndarray:
    """PromQL's `day_of_week() * 24 + hour()` of each time.

    >>> hour_of_week(np.array([0]))
    array([96])
    """
    hours: np.ndarray = (times // HOUR_MS + EPOCH_HOUR) % HOURS
    return hours


def families(
    values: FloatArray,
    times: TimeArray,
    normal: BoolArray,
    comparison: Comparison,
    *,
    last_bucket: float = math.inf,
) -> list[Family]:
    """The forms worth trying for these values, simplest first.

    `values` (N, T); `normal` (T,): where life was normal. What is learned is learned there only.
    `last_bucket`: what no quantile of a histogram that is measured goes beyond.
    """
    sign = 1 if comparison.above else -1
    mirrored = sign * ordinary(values)
    quiet = mirrored[:, normal]
    quiet = quiet[np.isfinite(quiet)]
    if quiet.size == 0:
        return []
    centre = float(np.median(quiet))
    spread = robust_spread(quiet - centre)
    end = _end(quiet, comparison, 1.0 if is_state(values) else math.inf, last_bucket)
    forms = (
        _static(mirrored, quiet, spread, _moves(mirrored[:, normal]), comparison, end),
        _by_hour(mirrored, times, normal, comparison, end),
        _trend(mirrored, times, normal, sign, spread, end),
    )
    there = np.isfinite(mirrored) | np.isnan(values)
    # What is infinite teaches nothing, and stands out all the same.
    return [
        replace(form, relative=np.where(there, form.relative, sign * values))
        for form in forms
        if form is not None
    ]


def ordinary(values: FloatArray) -> FloatArray:
    """The values, with NaN for those that stand for infinity."""
    return np.where(np.abs(values) < INFINITE, values, np.nan)


def _end(quiet: FloatArray, comparison: Comparison, most_seen: float, last_bucket: float) -> float:
    """What nothing can go beyond, mirrored as the values are; infinite where none is known."""
    # What was never negative counts or measures something, of which there is no less than nothing.
    most = min(most_of(comparison, last_bucket), most_seen) if comparison.above else 0.0
    tier = tier_end(comparison) * (1 if comparison.above else -1)
    return min(tier, most if quiet.max() <= most else math.inf)


QUANTILES = (0.9, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 1.0)
STEPS_BEYOND = 10


def robust_spread(deviations: FloatArray) -> float:
    """A robust standard deviation of what lies around 0; never 0."""
    wide = 1.4826 * float(np.median(np.abs(deviations)))
    return wide or float(np.std(deviations)) or 1e-9


def steady_slope(at: FloatArray, values: FloatArray) -> float:
    """Of the line through values at increasing places, of which many may be odd (Theil 1950, Sen 1968).

    >>> steady_slope(np.arange(5.0), np.array([0.0, 2.0, 99.0, 6.0, 8.0]))
    2.0
    """
    rows, columns = np.triu_indices(len(at), 1)
    return float(np.median((values[columns] - values[rows]) / (at[columns] - at[rows])))


def _moves(quiet: FloatArray) -> float:
    """The spread of each series around its own median."""
    there = quiet[np.isfinite(quiet).any(axis=1)]
    deviations = there - np.nanmedian(there, axis=1, keepdims=True)
    return robust_spread(deviations[np.isfinite(deviations)])


def _levels(quiet: FloatArray, everything: FloatArray) -> list[float]:
    """Quantiles of normal life, then steps from there to the worst that was ever seen."""
    highest = float(quiet.max())
    worst = float(everything[np.isfinite(everything)].max())
    worst = min(worst, highest + 20 * (highest - float(np.median(quiet)) or 1.0))
    beyond = np.linspace(highest, max(worst, highest), STEPS_BEYOND + 1)[1:]
    return sorted({*np.quantile(quiet, QUANTILES).tolist(), *beyond.tolist()})


def _static(
    mirrored: FloatArray,
    quiet: FloatArray,
    spread: float,
    moves: float,
    comparison: Comparison,
    end: float,
) -> Family:
    sign, old = 1 if comparison.above else -1, comparison.threshold
    levels = sorted({*_levels(quiet, mirrored), sign * old})
    at_end = end if comparison.operator.endswith("=") and sign * old == end else None
    # Next to where a graver alert begins it would tell of hardly anything.
    most = sign * old + HALFWAY * (sign * tier_end(comparison) - sign * old)
    within = [level for level in levels if level == at_end or (level < end and level <= most)]
    # What nothing goes below is told to people: a rule of it may be one to delete.
    beyond = [level for level in levels if level not in within and not comparison.above and end == 0]

    def make(level: float) -> Bound:
        if level == sign * old:
            return Static(old)
        # As exact as the number is small or near the end, so that it is not rounded to where nothing goes.
        grain = min(spread, abs(level) or spread, end - level if level < end else spread)
        return Static(sign * _short(level, grain) + 0.0)  # Never -0.

    return Family("static", make, within, mirrored, float(np.median(quiet)), moves, end, beyond)


def _short(level: float, grain: float) -> float:
    """Rounded outward to three digits, or to as many as the grain needs.

    >>> _short(225.61, 8.0), _short(293.151, 0.2), _short(0.01234, 0.001)
    (226.0, 293.16, 0.0124)
    """
    if level:
        digits = 10.0 ** (math.floor(math.log10(abs(level))) - 2)
        if digits <= grain / 2:
            grain = max(grain, 10 * digits)
    return outward(level, grain)


def _by_hour(
    mirrored: FloatArray, times: TimeArray, normal: BoolArray, comparison: Comparison, end: float
) -> Family | None:
    """Where the hour of the week explains a good part of what normal life varies by; else None."""
    sign = 1 if comparison.above else -1
    hours = hour_of_week(times)
    centre, wide, least = np.full(HOURS, np.nan), np.full(HOURS, np.nan), np.zeros(HOURS)
    period = HOURS if times[-1] - times[0] >= WEEKS_OF_HOURS * HOURS * HOUR_MS else 24
    quiet = mirrored[:, normal]
    clock = hours[normal] % period
    in_order = np.argsort(clock, kind="stable")
    edges = np.searchsorted(clock[in_order], np.arange(period + 1))
    for hour in range(period):
        there = quiet[:, in_order[edges[hour] : edges[hour + 1]]]
        there = there[np.isfinite(there)]
        if there.size:
            centre[hour::period] = np.median(there)
            wide[hour::period] = robust_spread(there - centre[hour])
            least[hour::period] = _least(-there) if sign < 0 and end == 0 else 0.0
    if np.isnan(centre).mean() > 0.1:
        return None
    rest = quiet - centre[hours[normal]]
    finite = np.isfinite(quiet) & np.isfinite(rest)
    if np.std(rest[finite]) >= 0.7 * np.std(quiet[finite]):
        return None
    wide = np.maximum(wide, float(np.nanmedian(wide)))  # A still hour must not get a hair's breadth.
    relative = (mirrored - centre[hours]) / wide[hours]
    calm = relative[:, normal]

    def make(level: float) -> Bound:
        edge = centre + level * wide
        if sign > 0 or end < 0:
            edge = np.minimum(edge, centre + HALFWAY * (end - centre))
        table = ByHour(threshold_by_hour(LabelSet(), sign * centre, sign * edge, 1.0, sign=sign))
        table = table.at_least(least)
        if comparison.operator == "<" and end == 0:
            # A number below 0 is as quiet as 0 for what never goes there, and reads as a mistake.
            return table.moved(lambda value: max(value, 0.0) + 0.0)
        return table

    return Family("by hour", make, _levels(calm[np.isfinite(calm)], relative), relative, 0.0, _moves(calm))


def _least(quiet: FloatArray) -> float:
    """The least number from below that an hour keeps; 0: none."""
    least = LEAST_SHARE * float(np.median(quiet))
    return least if least < np.quantile(quiet, HARDLY_EVER) else 0.0


def _trend(
    mirrored: FloatArray, times: TimeArray, normal: BoolArray, sign: int, spread: float, end: float
) -> Family | None:
    """Where normal life climbs or sinks by more than its own spread; else None."""
    days = times // 86_400_000
    known = [day for day in np.unique(days) if np.isfinite(mirrored[:, normal & (days == day)]).any()]
    if len(known) < 14:
        return None
    medians = np.array([np.nanmedian(mirrored[:, normal & (days == day)]) for day in known])
    middays = (np.array(known) + 0.5) * 86_400
    slope = steady_slope(middays, medians)
    zero = float(times[0] // 1000)
    if abs(slope) * (middays[-1] - middays[0]) < 2 * spread:
        return None
    start = float(np.median(medians - slope * (middays - zero)))
    relative = mirrored - (start + slope * (times / 1000 - zero))
    calm = relative[:, normal]
    until = float(times[-1] // 1000 + TREND_DAYS_AHEAD * 86_400)

    def make(level: float) -> Bound:
        return Trend(sign * outward(start + level, spread), sign * slope, zero, until)

    levels = _levels(calm[np.isfinite(calm)], relative)
    if sign > 0 or end < 0:
        last = start + slope * (until - zero)
        levels = [level for level in levels if max(start, last) + level < end]
    return Family("trend", make, levels, relative, 0.0, _moves(calm))
