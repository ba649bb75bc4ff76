"""What is known around a query's series and changes what is flagged: calendars, pauses, thin traffic.

Nothing here learns. The band that users see is changed, so the generated rule
and the score go on saying the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from sidecar.config.business import CALENDARS, USUAL_FACTORS, BusinessConfig, PauseConfig
from sidecar.config.model import QueryConfig
from sidecar.engine.hours import on_days, within_hours
from sidecar.series import BoolArray, FloatArray, LabelSet, RowArray, SeriesBatch, TimeArray

Z = 2.576
"""Standard deviations on either side that hold 99 % of a normal distribution."""


@dataclass(frozen=True)
class Moment:
    """What holds of some columns; None where nothing does.

    `factor`: of the band's half-widths, (T,) or (N, T). `paused`: not flagged, (N, T).
    `unlearnt`: paused and not learnt either, (N, T). `settled`: series for which a pause that teaches
    has its last sample in the first of these columns, (N,). `events`: how many events a
    ratio is made of, (N, T), below `min_events` too few. `course`: what a score has to exceed where
    only the course of a series is unusual, (N, 1).
    """

    factor: FloatArray | None = None
    paused: BoolArray | None = None
    unlearnt: BoolArray | None = None
    settled: BoolArray | None = None
    events: FloatArray | None = None
    min_events: int = 0
    ceiling: float = 1.0
    course: FloatArray | None = None

    def learnable(self, part: SeriesBatch) -> SeriesBatch:
        """The columns less what must not teach."""
        if self.unlearnt is None:
            return part
        return replace(part, values=np.where(self.unlearnt, np.nan, part.values))

    def band(self, yhat: FloatArray, lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The band as it is at these times; infinite where nothing is to be flagged."""
        if self.factor is not None:
            wider = yhat - self.factor * (yhat - lower)
            # A floor of 0 is the nature of the series, whatever the hour.
            lower = np.where(lower >= 0, np.maximum(wider, 0.0), wider)
            upper = yhat + self.factor * (upper - yhat)
        if self.events is not None:
            few = self.events < self.min_events
            least = lower - self.ceiling * by_chance(lower / self.ceiling, self.events)
            lower = np.where(lower >= 0, np.maximum(least, 0.0), least)
            upper = upper + self.ceiling * by_chance(upper / self.ceiling, self.events)
            lower, upper = _opened(few, lower, upper)
        if self.paused is not None:
            lower, upper = _opened(self.paused, lower, upper)
        return lower, upper

    def score(self, score: FloatArray, by_course: BoolArray) -> FloatArray:
        """The score: 0 in a pause, at most 1 where events are too few, whatever the course.

        `by_course`: flagged although the value lies inside the band, (N, T).
        """
        if self.course is not None:
            score = np.where(by_course & (score <= self.course), np.minimum(score, 1.0), score)
        if self.events is not None:
            score = np.where(self.events < self.min_events, np.minimum(score, 1.0), score)
        if self.paused is not None:
            score = np.where(self.paused & np.isfinite(score), 0.0, score)
        return score


def _opened(where: BoolArray, lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The band without ends at these places; a side that there is none of stays so."""
    return (
        np.where(where & ~np.isnan(lower), -np.inf, lower),
        np.where(where & ~np.isnan(upper), np.inf, upper),
    )


def by_chance(ratio: FloatArray, n_events: FloatArray) -> FloatArray:
    """How far from a true ratio one that is observed over so many events may be by chance, at 99 %.

    Source: the half-width of Wilson's score interval (1927), before it is shrunk towards a half: it stays
    above 0 where the ratio is 0, because a ratio that was never seen above 0 may be so nevertheless.

    >>> by_chance(np.array([0.01]), np.array([3.0, 3000.0])).round(3)
    array([1.116, 0.005])
    """
    p = np.clip(ratio, 0.0, 1.0)
    n = np.maximum(n_events, 1e-9)
    return np.asarray(Z * np.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)))


class Surroundings:
    """The calendars and pauses that concern one query, and the events that its ratios are made of."""

    def __init__(
        self,
        query: QueryConfig,
        business: BusinessConfig | None = None,
        pauses: Sequence[PauseConfig] = (),
    ) -> None:
        self._business = business or BusinessConfig()
        self._factors = USUAL_FACTORS | self._business.band_factors | query.band_factors
        self._pauses = [one for one in pauses if not one.queries or query.name in one.queries]
        self._patterns = [
            {name: re.compile(pattern) for name, pattern in one.match.items()} for one in self._pauses
        ]
        self._step_ms = 1000 * query.step
        self._traffic_config = query.traffic
        self._ceiling = query.upper_bound if query.upper_bound is not None else 1.0
        self._traffic: SeriesBatch | None = None
        self._labels: tuple[LabelSet, ...] | None = None
        self._matching: list[BoolArray] = []
        self._traffic_labels: tuple[LabelSet, ...] | None = None
        self._traffic_rows: RowArray = np.zeros(0, dtype=np.int64)
        self._deployed_ms: dict[LabelSet, TimeArray] = {}
        self._concerned: dict[LabelSet, BoolArray] = {}
        self._tastes: Callable[[tuple[LabelSet, ...]], tuple[FloatArray, FloatArray] | None] | None = None
        self._tasted_labels: tuple[LabelSet, ...] | None = None
        self._of_taste: tuple[FloatArray, FloatArray] | None = None

    def observe_traffic(self, traffic: SeriesBatch) -> None:
        """How many events there were at the times that are judged next."""
        self._traffic = traffic

    def observe_deployments(self, deployments: SeriesBatch) -> None:
        """What was being deployed, above 0, at the times that are judged next."""
        assert self._business.deployments is not None
        lasts_ms = 1000 * self._business.deployments.lasts
        if not deployments.n_steps:
            return
        for row, label_set in enumerate(deployments.labels):
            times = deployments.timestamps[np.nan_to_num(deployments.values[row]) > 0]
            if len(times):
                known = self._deployed_ms.get(label_set, np.zeros(0, dtype=np.int64))
                self._deployed_ms[label_set] = np.concatenate([known, times])
        oldest = deployments.timestamps[0] - lasts_ms
        kept = {one: times[times >= oldest] for one, times in self._deployed_ms.items()}
        self._deployed_ms = {one: times for one, times in kept.items() if len(times)}
        # Where each release has a name of its own there would be one more with each of them, for ever.
        self._concerned = {one: rows for one, rows in self._concerned.items() if one in self._deployed_ms}

    def changing(self, now_ms: int) -> bool:
        """Whether somebody works on the platform now: a deployment, or a window or day for them."""
        now = np.array([now_ms], dtype=np.int64)
        business = self._business
        lasts_ms = 1000 * business.deployments.lasts if business.deployments is not None else 0.0
        return bool(
            any((now_ms - times <= lasts_ms).any() for times in self._deployed_ms.values())
            or within_hours(business.deployment_windows, now)[0]
            or on_days(business.release_days, business.timezone, now)[0]
        )

    def endings(self, timestamps: TimeArray) -> list[int]:
        """Columns with the last sample of a pause that is over once and teaches: parts must begin there."""
        return sorted(
            {
                column
                for pause in self._pauses
                if pause.learn and pause.end is not None
                for column in np.flatnonzero(self._is_last_of(pause, timestamps)).tolist()
            }
        )

    def _is_last_of(self, pause: PauseConfig, timestamps: TimeArray) -> BoolArray:
        assert pause.end is not None
        return np.asarray(_times(pause, timestamps) & (timestamps + self._step_ms >= _ms(pause.end)))

    def at(self, part: SeriesBatch) -> Moment | None:
        """What holds of these columns; None in the usual case that nothing does."""
        if part.labels is not self._labels:
            self._learn_labels(part.labels)
        factor = self._factor(part)
        paused, unlearnt = self._paused(part)
        events = self._events(part)
        band, course = self._tasted(part)
        if band is not None:
            factor = band if factor is None else band * factor
        if factor is None and paused is None and events is None and course is None:
            return None
        min_events = self._traffic_config.min_events if self._traffic_config else 0
        settled = self._settled(part) if paused is not None else None
        return Moment(factor, paused, unlearnt, settled, events, min_events, self._ceiling, course)

    def heed(self, tasted: Callable[[tuple[LabelSet, ...]], tuple[FloatArray, FloatArray] | None]) -> None:
        """Heed what people said: by the rows' labels, factors of the band and what a course has to exceed.

        Both (N, 1); None where nothing was said of these series.
        """
        self._tastes, self._tasted_labels = tasted, None

    def _tasted(self, part: SeriesBatch) -> tuple[FloatArray | None, FloatArray | None]:
        if self._tastes is None:
            return None, None
        if part.labels is not self._tasted_labels:
            self._tasted_labels, self._of_taste = part.labels, self._tastes(part.labels)
        return self._of_taste or (None, None)

    def _factor(self, part: SeriesBatch) -> FloatArray | None:
        """Of the band's half-widths, (T,) or (N, T); None where they are as they are."""
        business, timestamps = self._business, part.timestamps
        factor = np.ones(part.n_steps)
        for name in CALENDARS:
            of_calendar = self._factors[name]
            days_or_hours = getattr(business, name)
            if of_calendar == 1.0 or not days_or_hours:
                continue
            if name == "release_days":
                holds = on_days(business.release_days, business.timezone, timestamps)
            else:
                holds = within_hours(days_or_hours, timestamps)
            factor[holds] *= of_calendar
        deployed = self._deployed(part)
        if deployed is not None:
            factor = factor * np.where(deployed, self._factors["deployment_windows"], 1.0)
        return None if (factor == 1.0).all() else factor

    def _deployed(self, part: SeriesBatch) -> BoolArray | None:
        """Where a series is concerned by a deployment, (N, T)."""
        if not self._deployed_ms or self._business.deployments is None:
            return None
        lasts_ms = 1000 * self._business.deployments.lasts
        found = np.zeros((part.n_series, part.n_steps), dtype=np.bool_)
        for deployment, times in self._deployed_ms.items():
            if deployment not in self._concerned:
                self._concerned[deployment] = _concerned(deployment, part.labels)
            since = part.timestamps[:, None] - times
            found |= self._concerned[deployment][:, None] & ((since >= 0) & (since <= lasts_ms)).any(axis=1)
        return found

    def _paused(self, part: SeriesBatch) -> tuple[BoolArray | None, BoolArray | None]:
        paused = unlearnt = None
        for pause, rows in zip(self._pauses, self._matching, strict=True):
            times = _times(pause, part.timestamps)
            if not times.any() or not rows.any():
                continue
            where = rows[:, None] & times
            paused = where if paused is None else paused | where
            if not pause.learn:
                unlearnt = where if unlearnt is None else unlearnt | where
        return paused, unlearnt

    def _settled(self, part: SeriesBatch) -> BoolArray | None:
        """Of a pause that recurs the seasons learn; what one that does not has taught by its end, holds."""
        settled = np.zeros(part.n_series, dtype=np.bool_)
        for pause, rows in zip(self._pauses, self._matching, strict=True):
            if pause.learn and pause.end is not None and self._is_last_of(pause, part.timestamps[:1])[0]:
                settled |= rows
        return settled if settled.any() else None

    def _events(self, part: SeriesBatch) -> FloatArray | None:
        traffic = self._traffic
        if self._traffic_config is None or traffic is None or not traffic.n_steps:
            return None
        if traffic.labels is not self._traffic_labels:
            self._learn_traffic_labels(part.labels, traffic.labels)
        columns = np.minimum(np.searchsorted(traffic.timestamps, part.timestamps), traffic.n_steps - 1)
        same_time = traffic.timestamps[columns] == part.timestamps
        # Of a time that was not asked for nothing is known, so nothing is gated.
        counted = np.zeros((part.n_series, part.n_steps))
        known = self._traffic_rows >= 0
        counted[known] = np.nan_to_num(traffic.values[self._traffic_rows[known]][:, columns])
        return np.where(same_time, counted, np.inf)

    def _learn_labels(self, labels: tuple[LabelSet, ...]) -> None:
        self._labels, self._traffic_labels, self._concerned = labels, None, {}
        self._matching = [
            np.array(
                [all(p.fullmatch(one.get(name, "")) for name, p in patterns.items()) for one in labels],
                dtype=np.bool_,
            )
            for patterns in self._patterns
        ]

    def _learn_traffic_labels(self, labels: tuple[LabelSet, ...], traffic: tuple[LabelSet, ...]) -> None:
        """Which row of the traffic belongs to which series; one without labels belongs to all."""
        self._traffic_labels = traffic
        row_of = {label_set.without("__name__"): row for row, label_set in enumerate(traffic)}
        of_all = row_of.get(LabelSet(), -1)
        self._traffic_rows = np.array(
            [row_of.get(label_set.without("__name__"), of_all) for label_set in labels], dtype=np.int64
        )


def _concerned(deployment: LabelSet, labels: tuple[LabelSet, ...]) -> BoolArray:
    """Which series a deployment concerns: those that agree in every label that both have; one at least."""
    wanted = dict(deployment.without("__name__"))
    if not wanted:
        return np.ones(len(labels), dtype=np.bool_)

    def agrees(one: LabelSet) -> bool:
        shared = [(name, value) for name, value in wanted.items() if name in one]
        return bool(shared) and all(one[name] == value for name, value in shared)

    return np.array([agrees(one) for one in labels], dtype=np.bool_)


def _times(pause: PauseConfig, timestamps: TimeArray) -> BoolArray:
    if pause.hours is not None:
        return within_hours([pause.hours], timestamps)
    assert pause.start is not None
    assert pause.end is not None
    return np.asarray((timestamps >= _ms(pause.start)) & (timestamps < _ms(pause.end)))


def _ms(moment: datetime) -> float:
    return moment.timestamp() * 1000
