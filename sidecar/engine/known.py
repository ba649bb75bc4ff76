"""What is known of the future: by how much events and holidays multiply the usual, row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidecar.config.known import CalendarConfig, EventConfig
from sidecar.engine.arrays import RowArrays
from sidecar.engine.holidays import Holidays
from sidecar.engine.protocols import Judged
from sidecar.series import BoolArray, FloatArray, Forecast, LabelSet, RowArray, TimeArray

Expect = Callable[[TimeArray], FloatArray]
"""The usual at other times, (n_rows, T)."""

N_RATIOS, MEAN, SMOOTH, PEAK = range(4)
ENOUGH_RATIOS = 10.0
SMOOTH_POINTS = 10.0
RATIO_BOUNDS = (0.02, 50.0)
HOLIDAY_TOLERANCE = 0.3


@dataclass(frozen=True)
class Factors:
    """How many times the usual is expected, and from how many to how many is allowed; (n_rows, T)."""

    centre: FloatArray
    least: FloatArray
    most: FloatArray

    @property
    def parts(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Centre, least, most."""
        return self.centre, self.least, self.most

    def expected(self, judged: Judged) -> Judged:
        """What is said of the usual part, as it is to be said of the values."""
        low, high = np.minimum(self.least, 1.0), np.maximum(self.most, 1.0)
        return replace(
            judged,
            yhat=judged.yhat * self.centre,
            lower=judged.lower * np.where(judged.lower >= 0, low, high),
            upper=judged.upper * np.where(judged.upper >= 0, high, low),
            usual=None if judged.usual is None else judged.usual * self.centre,
        )

    def forecast(self, forecast: Forecast) -> Forecast:
        """A forecast of the usual at the first of these times, as one of the values."""
        yhat = forecast.yhat * self.centre[:, 0]
        return replace(
            forecast,
            yhat=yhat,
            lower=np.minimum(forecast.lower * self.least[:, 0], yhat),
            upper=np.maximum(forecast.upper * self.most[:, 0], yhat),
        )

    def usual_part(self, values: FloatArray, usual: FloatArray) -> FloatArray:
        """The values as they would be without what is known: what lies within the allowed is the usual.

        An event may build up, so anything from the usual itself is allowed.
        """
        low, high = np.minimum(self.least, 1.0), np.maximum(self.most, 1.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = np.clip(values / usual, low, high)
            found: FloatArray = values / np.where(np.isfinite(ratio) & (ratio > 0), ratio, 1.0)
        return found


class KnownEvents:
    """The events and holidays of one query; learns the uplift of kinds of events from those that it saw."""

    def __init__(self, query: str) -> None:
        self._query = query
        self._events: tuple[EventConfig, ...] = ()
        self._holidays: Holidays | None = None
        self._learned = RowArrays({})
        self._matching: dict[int, BoolArray] = {}
        self._labels: tuple[LabelSet, ...] | None = None
        self.n_rows = 0

    def announce(self, events: Sequence[EventConfig], calendar: CalendarConfig | None = None) -> None:
        """From now on these are known; what was learnt of kinds that remain stays."""
        ours = [event for event in events if not event.queries or self._query in event.queries]
        self._events = tuple(ours)
        self._matching, self._labels = {}, None
        kinds = {f"kind_{event.kind}": ((4,), np.float64) for event in ours}
        learned = RowArrays(kinds)
        learned.resize(self.n_rows)
        for name, array in self._learned.arrays.items():
            if name in kinds:
                learned.arrays[name][:] = array
        self._learned = learned
        self._holidays = None
        if calendar and calendar.country and (not calendar.queries or self._query in calendar.queries):
            self._holidays = Holidays(calendar)

    def resize(self, n_rows: int) -> None:
        """Make room for so many rows."""
        self._learned.resize(n_rows)
        self.n_rows = max(self.n_rows, n_rows)

    def reset(self, rows: RowArray) -> None:
        """Forget what was learnt of these rows."""
        self._learned.reset(rows)

    def holds(self, timestamps: TimeArray) -> bool:
        """Whether anything is known of any of these times."""
        return any(_within(event, timestamps).any() for event in self._events) or (
            self._holidays is not None and bool((self._holidays.like(timestamps) != timestamps).any())
        )

    def during(self, timestamps: TimeArray) -> BoolArray:
        """Which of these times lie within an event; holidays do not count."""
        found: BoolArray = np.zeros(len(timestamps), dtype=np.bool_)
        for event in self._events:
            found |= _within(event, timestamps)
        return found

    def factors(self, labels: tuple[LabelSet, ...], timestamps: TimeArray, expect: Expect) -> Factors | None:
        """What holds at these times; None in the usual case that nothing does."""
        found: Factors | None = None
        for n, event in enumerate(self._events):
            within = _within(event, timestamps)
            if within.any():
                found = found or self._nothing(len(timestamps))
                self._apply(found, n, within, labels)
        like = self._holidays.like(timestamps) if self._holidays is not None else None
        if like is not None and (like != timestamps).any():
            found = found or self._nothing(len(timestamps))
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                ratio = expect(like) / expect(timestamps)
            # From below zero to above it nothing is so many times as large.
            ratio = np.where(np.isfinite(ratio) & (ratio > 0), np.clip(ratio, *RATIO_BOUNDS), 1.0)
            for array, wrong in zip(found.parts, (0.0, -HOLIDAY_TOLERANCE, HOLIDAY_TOLERANCE), strict=True):
                array *= np.where(like != timestamps, ratio * (1.0 + wrong), 1.0)
        return found

    def learn(
        self, labels: tuple[LabelSet, ...], timestamps: TimeArray, values: FloatArray, usual: FloatArray
    ) -> None:
        """What events were worth: `values` (n_rows, T) beside what would have been usual."""
        for n, event in enumerate(self._events):
            within = _within(event, timestamps)
            if not within.any():
                continue
            memory = self._learned.arrays[f"kind_{event.kind}"]
            rows = self._rows(n, labels)
            for t in np.flatnonzero(within).tolist():
                with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                    ratio = values[:, t] / usual[:, t]
                known = rows & np.isfinite(ratio) & (ratio > 0)
                _note(memory, known, np.clip(ratio, *RATIO_BOUNDS))

    def _apply(self, found: Factors, n: int, within: BoolArray, labels: tuple[LabelSet, ...]) -> None:
        event = self._events[n]
        rows = self._rows(n, labels)
        centre, least, most = self._uplift(event)
        where = rows[:, None] & within
        for array, factor in zip(found.parts, (centre, least, most), strict=True):
            array *= np.where(where, factor[:, None], 1.0)

    def _uplift(self, event: EventConfig) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Centre, least, most of an event, by row: as stated, or as learnt of its kind, or nothing."""
        one = np.ones(self.n_rows)
        if event.uplift is not None:
            wrong = 1.0 + event.tolerance
            return one * event.uplift, one * event.uplift / wrong, one * event.uplift * wrong
        memory = self._learned.arrays[f"kind_{event.kind}"]
        known = memory[:, N_RATIOS] >= ENOUGH_RATIOS
        centre = np.where(known, memory[:, MEAN], 1.0)
        most = np.where(known, memory[:, PEAK] * (1.0 + event.tolerance), 1.0)
        least = np.where(known, np.minimum(memory[:, MEAN], 1.0) / (1.0 + event.tolerance), 1.0)
        return centre, least, np.maximum(most, centre)

    def _rows(self, n: int, labels: tuple[LabelSet, ...]) -> BoolArray:
        """Which rows an event is about; worked out once for a set of series."""
        if labels is not self._labels:
            self._matching, self._labels = {}, labels
        if n not in self._matching:
            wanted = self._events[n].match.items()
            self._matching[n] = np.array(
                [all(one.get(k, "") == v for k, v in wanted) for one in labels], dtype=np.bool_
            )
        return self._matching[n]

    def _nothing(self, n_steps: int) -> Factors:
        return Factors(*(np.ones((self.n_rows, n_steps)) for _ in range(3)))

    def state(self) -> dict[str, NDArray[Any]]:
        """What was learnt of kinds of events."""
        return self._learned.state()

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take what `state` once gave; which kinds are of use is for `announce` to say.

        Raises: ModelError where a shape does not fit.
        """
        if state:
            self._learned = RowArrays(dict.fromkeys(state, ((4,), np.float64))).restore(dict(state))
            self.n_rows = self._learned.n_rows


def _within(event: EventConfig, timestamps: TimeArray) -> BoolArray:
    begin = event.start.timestamp() * 1000.0
    return (timestamps >= begin) & (timestamps < begin + event.duration * 1000.0)


def _note(memory: FloatArray, known: BoolArray, ratio: FloatArray) -> None:
    """One column of ratios into the memory of a kind, in place."""
    m = memory[known]
    r = ratio[known]
    m[:, N_RATIOS] += 1.0
    m[:, MEAN] += (r - m[:, MEAN]) / m[:, N_RATIOS]
    m[:, SMOOTH] += (r - m[:, SMOOTH]) * np.maximum(1.0 / m[:, N_RATIOS], 1.0 / SMOOTH_POINTS)
    settled = m[:, N_RATIOS] >= ENOUGH_RATIOS
    m[:, PEAK] = np.where(settled, np.maximum(m[:, PEAK], m[:, SMOOTH]), m[:, PEAK])
    memory[known] = m
