"""The model of one query: rows, detector, calibration, forecaster; columns in, evaluations out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sidecar.config.model import QueryConfig
from sidecar.engine.absence import Absence
from sidecar.engine.arrays import MAX_VALUE, RowArrays
from sidecar.engine.band import Band, around_the_usual, held, within
from sidecar.engine.calibrate import MONTH_SECONDS, segments
from sidecar.engine.families import Families
from sidecar.engine.index import GONE, SeriesIndex
from sidecar.engine.known import Factors, KnownEvents
from sidecar.engine.level import LevelBefore
from sidecar.engine.newcomers import Newcomers
from sidecar.engine.protocols import Detector, Forecaster, Judged, Settler, SideArray, Thresholds
from sidecar.engine.registry import make_detector, make_forecaster
from sidecar.engine.surroundings import Moment, Surroundings
from sidecar.records import DEFAULT_TENANT
from sidecar.series import (
    BoolArray,
    Evaluation,
    Expectation,
    FloatArray,
    Forecast,
    LabelSet,
    LearnedBand,
    Score,
    SeriesBatch,
    TimeArray,
)

MAX_SCORE = 100.0
WEEK_MS = 7 * 86400 * 1000
SUNDAY_MS = 3 * 86400 * 1000  # 1970-01-04 00:00 UTC was a Sunday.
FULL_CONFIDENCE_SECONDS = 3 * 86400.0


@dataclass
class Counts:
    """What happened to the columns and rows that came in."""

    late: int = 0
    duplicate: int = 0
    retired_rows: int = 0
    accepted_shifts: int = 0
    adopted_rows: int = 0


class QueryModel:
    """Scores and forecasts every series of one query, online and without look-ahead.

    The same columns give the same answers however they are batched, so a
    restart from saved state continues as if nothing had happened. But a series
    that is back before the batch ends has only paused, however long.
    """

    def __init__(
        self,
        query: QueryConfig,
        *,
        tenant: str = DEFAULT_TENANT,
        detector: str | None = None,
        forecaster: str = "pool",
    ) -> None:
        self.query = query
        self.tenant = tenant
        self.detector_name = detector or query.detector
        self.forecaster_name = forecaster
        self.index = SeriesIndex(query.step)
        self.detector = make_detector(self.detector_name, query)
        self.forecaster = make_forecaster(forecaster, query)
        self.calibrator = self.detector.calibrator
        self.absence = Absence(query.step, by_family=query.absence == "family")
        self.known = KnownEvents(query.name)
        self.surroundings = Surroundings(query)
        self.families = Families()
        self.newcomers = Newcomers(query.step)
        self.level_before = LevelBefore()
        self.seen_points = np.zeros(0, dtype=np.int64)
        self.ever_negative = np.zeros(0, dtype=np.bool_)
        self.first_timestamp_ms: int | None = None
        self.last_timestamp_ms: int | None = None
        self.counts = Counts()
        self._band = Band(query)
        self._accepted = np.zeros(0, dtype=np.bool_)

    @property
    def level(self) -> float:
        """The share of normal points that the band claims to hold, from the budget."""
        share = self.query.false_alarms * self.query.step / MONTH_SECONDS
        return 1.0 - min(share, 0.5)

    @property
    def n_borrowing(self) -> int:
        """Series whose judgement still rests on what their siblings or their query knew."""
        return int(self.newcomers.borrowing(self.seen_points).sum())

    def fit(self, history: SeriesBatch) -> None:
        """Learn from history, (N, T); any number of series, none included."""
        self.score(history)

    def score(self, batch: SeriesBatch) -> tuple[SeriesBatch, Expectation, Score]:
        """Judge and learn the new columns of a batch: the aligned batch and what is said of it.

        Columns not newer than the last one judged are left out, and counted.
        """
        batch = self._newer(batch)
        aligned = self.index.align(batch)
        if self.first_timestamp_ms is None and aligned.n_steps:
            self.first_timestamp_ms = int(aligned.timestamps[0])
        self._resize(self.index.n_rows)
        self._accepted = np.zeros(self.index.n_rows, dtype=np.bool_)
        self.families.follow(self.index.labels)
        cuts = self.newcomers.cuts(np.isfinite(aligned.values), self.seen_points, self.families)
        cuts += self.surroundings.endings(aligned.timestamps)
        said = []
        for first, end, new_hour in self._pieces(aligned.timestamps, cuts):
            if new_hour:
                self._on_the_hour(int(aligned.timestamps[first]))
                aligned = SeriesBatch(
                    aligned.query, self.index.labels, aligned.timestamps, aligned.values, aligned.warnings
                )
            part = SeriesBatch(
                aligned.query, aligned.labels, aligned.timestamps[first:end], aligned.values[:, first:end]
            )
            said.append(self._score_part(part))
        self.counts.accepted_shifts += int(self._accepted.sum())
        return aligned, *self._joined(said)

    def _score_part(self, part: SeriesBatch) -> tuple[Expectation, Score]:
        """Judge and learn columns of one hour, in which the same is known of all series."""
        self._teach(part)
        moment = self.surroundings.at(part)
        known = self.known.factors(part.labels, part.timestamps, self._season)
        usual = part
        if known is None:
            self.level_before.let_go()
        else:
            usual = self._usual_part(part, known)
        if moment is not None:
            usual = moment.learnable(usual)
            self._settle(usual, moment)
        judged = self.detector.judge(usual)
        self.level_before.follow(judged.yhat[:, -1])
        if known is not None:
            judged = known.expected(judged)
        if judged.accepted is not None:
            self._accepted |= judged.accepted
        below_zero = (part.values < 0) & (part.values > -MAX_VALUE)
        negative = np.logical_or.accumulate(
            np.concatenate([self.ever_negative[:, None], below_zero], axis=1), axis=1
        )
        points = self.seen_points[:, None] + np.cumsum(np.isfinite(part.values), axis=1)
        # A value below zero says itself that there may be such.
        said = self._said(part.values, judged, moment, negative[:, 1:], points)
        self.forecaster.update(usual)
        self.ever_negative = negative[:, -1]
        self.seen_points = points[:, -1]
        self.last_timestamp_ms = int(part.timestamps[-1])
        return said

    def _said(
        self,
        values: FloatArray,
        judged: Judged,
        moment: Moment | None,
        negative: BoolArray,
        points: TimeArray,
    ) -> tuple[Expectation, Score]:
        """What users see of a judgement: the band within what is possible and asked for, and its score."""
        yhat = self._band.possible(judged.yhat, negative)
        centre = held(judged.yhat, judged.lower, judged.upper)
        lower, upper = self._band.allowed(centre, judged.lower, judged.upper, negative)
        if moment is not None:
            lower, upper = moment.band(self._band.possible(centre, negative), lower, upper)
        score, direction, shape = self._judge(values, judged, lower, upper)
        if moment is not None:
            inside = ~((values < lower) | (values > upper))
            score = moment.score(score, inside & (shape != 0))
            shape[~(score > 1.0)] = 0
        if judged.usual is not None:
            lower, upper = around_the_usual(shape, judged.yhat, judged.usual, lower, upper)
        # In an alarm the centre follows the series while the band stays where it was.
        yhat = within(yhat, lower, upper)
        confidence = np.minimum(points * self.query.step / FULL_CONFIDENCE_SECONDS, 1.0)
        return Expectation(yhat, lower, upper, self.level), Score(score, direction, confidence, shape)

    def _joined(self, said: Sequence[tuple[Expectation, Score]]) -> tuple[Expectation, Score]:
        """The parts' columns behind each other, also where there are none."""
        if len(said) == 1:
            return said[0]
        none = np.zeros((self.index.n_rows, 0))
        nothing = (
            Expectation(none, none, none),
            Score(none, none.astype(np.int8), none, none.astype(np.int8)),
        )
        of_bands, of_scores = zip(
            *(
                (
                    (band.yhat, band.lower, band.upper),
                    (score.anomaly_score, score.direction, score.confidence, score.shape),
                )
                for band, score in (nothing, *said)
            ),
            strict=True,
        )
        yhat, lower, upper = (np.concatenate(arrays, axis=1) for arrays in zip(*of_bands, strict=True))
        score, direction, confidence, shape = (
            np.concatenate(arrays, axis=1) for arrays in zip(*of_scores, strict=True)
        )
        return Expectation(yhat, lower, upper, self.level), Score(score, direction, confidence, shape)

    def update(self, batch: SeriesBatch) -> Evaluation | None:
        """As `score`, of which the newest column is handed on; None where no column was new."""
        aligned, expectation, score = self.score(batch)
        if not aligned.n_steps:
            return None
        return Evaluation(
            query=self.query.name,
            tenant=self.tenant,
            timestamp_ms=int(aligned.timestamps[-1]),
            labels=aligned.labels,
            actual=aligned.values[:, -1].copy(),
            expected=expectation.yhat[:, -1].copy(),
            lower=expectation.lower[:, -1].copy(),
            upper=expectation.upper[:, -1].copy(),
            anomaly_score=score.anomaly_score[:, -1].copy(),
            direction=score.direction[:, -1].copy(),
            confidence=score.confidence[:, -1].copy(),
            shape=score.shape[:, -1].copy(),
            forecasts=self._forecasts(aligned.labels, int(aligned.timestamps[-1])),
            accepted=self._accepted if self._accepted.any() else None,
            absent=self._absent(int(aligned.timestamps[-1])),
            step_seconds=self.query.step,
        )

    def _season(self, timestamps: TimeArray) -> FloatArray:
        return self.detector.expect(timestamps)[0]

    def _pieces(self, timestamps: TimeArray, cuts: list[int]) -> Iterator[tuple[int, int, bool]]:
        """Columns to be judged together: those of an hour, until one of `cuts`; one if something is known.

        What is known multiplies the usual as it stands just then, whatever the batch.
        """
        for first, end, new_hour in segments(timestamps, self.last_timestamp_ms, cuts):
            if not self.known.holds(timestamps[first:end]):
                yield first, end, new_hour
                continue
            for column in range(first, end):
                yield column, column + 1, new_hour and column == first

    def _usual_part(self, part: SeriesBatch, known: Factors) -> SeriesBatch:
        """The columns without what is known of their times, so that it is neither flagged nor learnt."""
        if not self.level_before.held:
            before = np.array([self.last_timestamp_ms or int(part.timestamps[0])], dtype=np.int64)
            self.level_before.hold(self._season(before)[:, 0])
        season = self._season(part.timestamps) * self.level_before.of_season()[:, None]
        self.known.learn(part.labels, part.timestamps, part.values, season)
        return replace(part, values=known.usual_part(part.values, season))

    def _forecasts(self, labels: tuple[LabelSet, ...], now_ms: int) -> tuple[Forecast, ...]:
        """What the forecaster says, times what is known of the moments it speaks of."""
        found = []
        for forecast in self.forecaster.predict():
            at = np.array([now_ms + round(forecast.horizon_seconds * 1000)], dtype=np.int64)
            known = self.known.factors(labels, at, self._season)
            found.append(self._band.forecast(forecast if known is None else known.forecast(forecast)))
        return tuple(found)

    def _absent(self, now_ms: int) -> BoolArray | None:
        if self.query.absence == "off":
            return None
        missed = self.absence.missed(self.index, self.families, self.seen_points, now_ms)
        return missed if missed.any() else None

    def learned_band(self) -> LearnedBand:
        """The band by hour of week as learnt so far, of the series that are alive."""
        hours = SUNDAY_MS + np.arange(168, dtype=np.int64) * 3600_000 + 1800_000
        if self.last_timestamp_ms is not None:
            # The next week, so that the levels of now count, as they would in a forecast.
            hours += (self.last_timestamp_ms - SUNDAY_MS) // WEEK_MS * WEEK_MS
        yhat, down, up = self.detector.expect(hours)
        q = self.calibrator.thresholds()[:, None]
        negative = np.repeat(self.ever_negative[:, None], 168, axis=1)
        lower, upper = self._band.allowed(yhat, yhat - q * down, yhat + q * up, negative)
        alive = np.array([label_set is not GONE for label_set in self.index.labels], dtype=np.bool_)
        alive &= self.seen_points > 0
        labels: tuple[LabelSet, ...] = tuple(
            label_set for label_set, lives in zip(self.index.labels, alive, strict=True) if lives
        )
        return LearnedBand(
            self.query.name,
            self.query.expr,
            labels,
            self._band.possible(yhat, self.ever_negative[:, None])[alive],
            lower[alive],
            upper[alive],
            self.seen_points[alive],
        )

    def _newer(self, batch: SeriesBatch) -> SeriesBatch:
        last = self.last_timestamp_ms
        if last is None or not batch.n_steps or batch.timestamps[0] > last:
            return batch
        new = batch.timestamps > last
        n_same = int((batch.timestamps == last).sum())
        self.counts.duplicate += n_same
        self.counts.late += int((~new).sum()) - n_same
        return SeriesBatch(
            batch.query, batch.labels, batch.timestamps[new], batch.values[:, new], batch.warnings
        )

    def _resize(self, n_rows: int) -> None:
        if n_rows > len(self.seen_points):
            for part in self._parts():
                part.resize(n_rows)
            missing = n_rows - len(self.seen_points)
            self.seen_points = np.concatenate([self.seen_points, np.zeros(missing, dtype=np.int64)])
            self.ever_negative = np.concatenate([self.ever_negative, np.zeros(missing, dtype=np.bool_)])

    def _parts(self) -> tuple[Detector | Thresholds | Forecaster | KnownEvents | RowArrays, ...]:
        return (
            self.detector,
            self.calibrator,
            self.forecaster,
            self.known,
            self.newcomers,
            self.level_before,
        )

    def _on_the_hour(self, now_ms: int) -> None:
        """Once an hour of query time: renew the pool, forget rows of series long gone."""
        self.calibrator.renew_pool()
        gone = np.concatenate([self.index.retire(now_ms), self.index.make_room(now_ms, self.seen_points)])
        if len(gone):
            for part in self._parts():
                part.reset(gone)
            self.seen_points[gone] = 0
            self.ever_negative[gone] = False
            self.counts.retired_rows += len(gone)

    def _teach(self, part: SeriesBatch) -> None:
        """Give young series what their siblings, or their query, know before `part` is judged."""
        rows, elders = self.newcomers.teach(part, self.seen_points, self.families, self.detector)
        self.ever_negative[rows] = self.ever_negative[elders]
        self.counts.adopted_rows += len(rows)

    def _settle(self, usual: SeriesBatch, moment: Moment) -> None:
        """Where a pause that teaches ends now: what is unusual still is the new normal."""
        if moment.settled is not None and isinstance(self.detector, Settler):
            rows = np.flatnonzero(moment.settled & np.isfinite(usual.values[:, 0]))
            self.detector.settle(rows)

    def _judge(
        self, values: FloatArray, judged: Judged, lower: FloatArray, upper: FloatArray
    ) -> tuple[FloatArray, SideArray, SideArray]:
        """Score, direction and, where it is flagged by its course, shape."""
        shape = np.zeros(values.shape, dtype=np.int8)
        with np.errstate(invalid="ignore"):
            score = np.minimum(judged.score, MAX_SCORE)
            below, above = values < lower, values > upper
            outside = below | above
            # The band is what users see, so it decides: rounding and bounds included.
            inside = np.minimum(score, 1.0)
            # In an alarm the centre may be on the other side of a value than the band that it has left.
            direction = np.sign(np.nan_to_num(values - judged.yhat)).astype(np.int8)
            direction = np.where(above, np.int8(1), np.where(below, np.int8(-1), direction))
            if judged.shape is not None:
                by_shape = (judged.shape != 0) & ~self._unwanted(values, judged, judged.shape) & (score > 1.0)
                shape = np.where(by_shape, judged.shape, shape)
                inside = np.where(by_shape, score, inside)
                direction = np.where(np.abs(shape) == 1, shape, direction)
            score = np.where(outside, np.maximum(score, np.nextafter(1.0, 2.0)), inside)
            score = np.where(np.isfinite(judged.score), score, np.nan)
        return score, direction, shape

    def _unwanted(self, values: FloatArray, judged: Judged, shape: SideArray) -> BoolArray:
        """Where a course is unusual on the side that the query does not ask about.

        A drift has a side; what stands still has one where it stands outside of the band.
        """
        drifts = np.abs(shape) == 1
        if self.query.direction == "above":
            return np.asarray(np.where(drifts, shape == -1, values < judged.lower))
        if self.query.direction == "below":
            return np.asarray(np.where(drifts, shape == 1, values > judged.upper))
        return np.zeros(values.shape, dtype=np.bool_)
