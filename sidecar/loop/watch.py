"""One watched query: learn its history once, then pull, score and hand on each step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sidecar.config.business import BusinessConfig, PauseConfig
from sidecar.config.fields import format_duration
from sidecar.config.known import CalendarConfig, EventConfig
from sidecar.config.model import QueryConfig
from sidecar.errors import ModelError
from sidecar.events import Event, EventBus
from sidecar.loop.alone import Alone
from sidecar.loop.beside import Beside, work_seconds
from sidecar.loop.clock import AHEAD_SECONDS, SourceClock
from sidecar.loop.following import Following
from sidecar.loop.learning import LEARNERS, learn
from sidecar.loop.metrics import LoopMetrics
from sidecar.loop.missed import judged_but_newest
from sidecar.loop.partial import without_new_absences
from sidecar.loop.past import read_past
from sidecar.loop.surroundings import AskedSurroundings
from sidecar.loop.taste import Taste, factors
from sidecar.loop.trial import Trial
from sidecar.loop.upheavals import Upheavals
from sidecar.offload import Offload
from sidecar.ports import HistorySource, Sink
from sidecar.series import Evaluation, FloatArray, LabelSet, LearnedBand, SeriesBatch
from sidecar.telemetry import get_logger

if TYPE_CHECKING:  # The engine is imported in a worker thread: numba costs half a second.
    from sidecar.engine.model import QueryModel


SAME_ROWS = ("expr", "step", "detector")
"""Keys of a query that must be as they were for its model to be the same one after a reload."""

NO_SERIES = "no series match yet; if some should, see pronoia explore"

DOUBTS, DOUBT_SECONDS = 5, 900.0
"""So many steps, and so long, the source's clock must be behind before a model is given up for it."""


class Watch:
    """A query's model and the loop's dealings with it.

    The model is arrays that are changed in place by worker threads, so only one
    piece of work at a time is at it: a step, a save, or a reading.
    """

    def __init__(
        self,
        query: QueryConfig,
        *,
        source: HistorySource,
        sinks: Sequence[Sink],
        bus: EventBus,
        offload: Offload,
        clock: SourceClock,
        metrics: LoopMetrics,
        directory: Path,
        max_series: int,
        events: Sequence[EventConfig] = (),
        calendar: CalendarConfig | None = None,
        business: BusinessConfig | None = None,
        pauses: Sequence[PauseConfig] = (),
        slots: asyncio.Semaphore | None = None,
        trial: Trial | None = None,
        beside: Beside | None = None,
        tastes: Callable[[], Sequence[Taste]] = tuple,
        remember: Callable[[str, Sequence[LabelSet], FloatArray], None] | None = None,
        begun: Callable[[str, float], Mapping[LabelSet, int]] | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.query = query
        self.evaluation: Evaluation | None = None
        self.ready = False
        self._source = source
        self._sinks = sinks
        self._bus = bus
        self._offload = offload
        self._clock = clock
        self._metrics = metrics
        self._path = directory / f"{query.name}.model"
        self._max_series = query.max_series or max_series
        self._events, self._calendar = events, calendar
        self._business, self._pauses = business or BusinessConfig(), pauses
        self._now = now
        self._log = get_logger("watch").bind(query=query.name)
        self._model: QueryModel | None = None
        self._trial, self._tastes, self._remember = trial, tastes, remember
        self._beside = beside
        weights = self._business.weights
        self._following = Following(query, weights, bus=bus, metrics=metrics, now=now, begun=begun)
        self._upheavals = Upheavals(query, bus=bus, metrics=metrics, now=now)
        self._asked = AskedSurroundings(query, self._business, self._upheavals, self._pull)
        metrics.alarm_budget.labels(query.name).set(query.false_alarms)
        metrics.step.labels(query.name).set(query.step)
        self._saved_at_ms: int | None = None
        self._doubts = 0
        """Steps in a row at which the source's clock was far behind the model's last step."""
        self._at_model = Alone(offload)
        self._slots = slots or asyncio.Semaphore(LEARNERS)
        self._warned: set[str] = set()
        self._unsaved: str | None = None
        """Why the model was not saved when that was last tried."""

    def take_over(self, before: Watch) -> None:
        """Go on where the one of that name was when a reload ended it, where it judged the same."""
        if any(getattr(self.query, key) != getattr(before.query, key) for key in SAME_ROWS):
            return
        self.evaluation = before.evaluation
        self._following.take_over(before._following)

    @property
    def step_ms(self) -> int:
        """The query's step in milliseconds."""
        return round(self.query.step * 1000)

    @property
    def judged_ms(self) -> int | None:
        """Up to when its model has judged, in a process before this one too; None while there is none."""
        return self._model.last_timestamp_ms if self._model is not None else None

    async def prepare(self) -> None:
        """Have a model: the saved one, or one learnt from the source's history.

        Raises: PullError where the history cannot be had now; call again later.
        """
        if self._model is None:
            self._model = await self._offload.run(self._restore) or await self._learn()

    def _restore(self) -> QueryModel | None:
        from sidecar.engine.registry_models import ModelFiles
        from sidecar.engine.snapshot import load

        if ModelFiles(self._path.parent).take_next(self.query.name):
            self._log.info("another version of the model takes its place", path=str(self._path))
        if not self._path.exists():
            return None
        try:
            model = load(self._path, self.query)
        except ModelError as error:
            self._log.warning("saved model set aside, learning anew", path=str(self._path), err=str(error))
            return None
        self._surround(model)
        age = self._clock.now() - (model.last_timestamp_ms or 0) / 1000
        if age > self.query.history:
            self._log.warning("saved model too old, learning anew", age_seconds=round(age))
            return None
        self._log.info(
            "model restored",
            path=str(self._path),
            last_timestamp_seconds=(model.last_timestamp_ms or 0) / 1000,
            age_seconds=round(age, 1),
        )
        for note in model.forecaster.notes:
            self._log.info("a part of the saved model is made anew", reason=note)
        self._following.recall(model.index.labels, self._clock.now() * 1000)
        return model

    async def _learn(self) -> QueryModel:
        async with self._slots:
            began = time.monotonic()
            end_ms = self._newest_ms()
            parts = await self._past(end_ms)
            if self._clock.not_yet(end_ms, self.query.offset):
                parts = await self._past(self._newest_ms())
            model = await self._offload.run(self._fit, parts)
            seconds = time.monotonic() - began
        facts = {
            "query": self.query.name,
            "n_series": parts[-1].n_series,
            "n_samples": sum(int(np.isfinite(part.values).sum()) for part in parts),
            "elapsed_seconds": round(seconds, 3),
        }
        self._log.info("history learned", **facts)
        self._bus.publish(Event("query.fitted", self._now(), facts))
        self._following.begin()
        await self._offload.run(self._following.recall, model.index.labels, self._clock.now() * 1000)
        await self.checkpoint(model)
        return model

    def _newest_ms(self) -> int:
        """The newest step that there is, as far as the source's clock is known."""
        return self._clock.last_step_ms(self.query.step, self.query.offset)

    async def _past(self, end_ms: int) -> list[SeriesBatch]:
        return await read_past(self.query, self._source, end_ms=end_ms, max_series=self._max_series)

    def _fit(self, parts: Sequence[SeriesBatch]) -> QueryModel:
        from sidecar.engine.model import QueryModel

        model = QueryModel(self.query)
        self._surround(model)
        tails = learn(model, parts)
        if self._remember is not None:
            self._remember(self.query.name, parts[-1].labels, tails)
        return model

    def _surround(self, model: QueryModel) -> None:
        """Tell the model what the configuration knows around its series."""
        from sidecar.engine.surroundings import Surroundings

        model.known.announce(self._events, self._calendar)
        model.surroundings = Surroundings(self.query, self._business, self._pauses)
        model.surroundings.heed(partial(factors, self._tastes()))
        if self._beside is not None:
            self._beside.put_aside(model)

    async def heed(self) -> None:
        """Judge from now on as people have said by now."""
        if self._model is not None:
            await self._at_model.run(self._model.surroundings.heed, partial(factors, self._tastes()))

    async def step(self) -> bool:
        """Judge every step since the last one. True when something new was judged.

        Raises: PullError; what was missed is pulled with the next call.
        """
        model = self._model
        if model is None:
            raise ModelError(f"{self.query.name}: prepare() comes before step()")
        end_ms = self._newest_ms()
        last_ms = model.last_timestamp_ms
        # After a long outage the newest part teaches what is normal now; weeks are not re-read.
        oldest_ms = end_ms - round(self.query.history * 1000)
        start_ms = end_ms if last_ms is None else max(last_ms + self.step_ms, oldest_ms)
        if start_ms > end_ms:
            # Nothing new by our clock. Ask once all the same: the answer tells the server's time.
            await self._source.instant(
                self.query.expr, at_ms=end_ms, name=self.query.name, max_series=self._max_series
            )
            self._metrics.ignored_columns.labels(self.query.name, "duplicate").inc()
            await self._doubt_the_future(model)
            return False
        self._doubts = 0
        start_ms, batch = await judged_but_newest(
            start_ms,
            end_ms,
            self.step_ms,
            n_series=len(model.index.labels),
            pull=partial(self._pull, self.query.expr),
            judge=partial(self._judge_missed, model),
            not_yet=lambda step_ms: self._clock.not_yet(step_ms, self.query.offset),
        )
        if self._clock.not_yet(end_ms, self.query.offset):
            self._metrics.ignored_columns.labels(self.query.name, "future").inc(batch.n_steps)
            return False
        await self._asked.look(model, start_ms, end_ms)
        evaluation = await self._at_model.run(self._judge, model, batch)
        if evaluation is None:
            self._metrics.evaluations.labels(self.query.name, "empty").inc()
            return False
        self._publish(evaluation, batch, model.n_borrowing)
        await self._improve(model)
        if self._trial is not None:
            await self._try_challenger(self._trial, evaluation, batch)
        return True

    async def _judge_missed(self, model: QueryModel, batch: SeriesBatch, start_ms: int, end_ms: int) -> None:
        """Judge what is too old to be told."""
        await self._asked.look(model, start_ms, end_ms)
        await self._at_model.run(model.update, batch)

    async def _doubt_the_future(self, model: QueryModel) -> None:
        """Learn anew where the model lives far ahead of the source's clock, which was just read.

        That clock was wrong before; to wait until it is as late as it said would blind the query for as long.
        But it must say so for some time: of servers behind one address one may have a clock of its own.
        """
        ahead_seconds = (model.last_timestamp_ms or 0) / 1000 - self._clock.now()
        self._doubts = self._doubts + 1 if ahead_seconds > AHEAD_SECONDS else 0
        if self._doubts >= max(DOUBTS, DOUBT_SECONDS / self.query.step):
            self._log.warning(
                "the source's clock was set back, learning anew", ahead_seconds=round(ahead_seconds)
            )
            self._model = await self._learn()
            self._doubts = 0

    async def _try_challenger(self, trial: Trial, evaluation: Evaluation, batch: SeriesBatch) -> None:
        """Let a challenger judge too; if it won it takes the model's place; if one is due it is learnt."""

        async def pull(start_ms: int, end_ms: int) -> SeriesBatch:
            return await self._pull(self.query.expr, start_ms, end_ms)

        async def history() -> SeriesBatch:
            return (await self._past(evaluation.timestamp_ms))[-1]

        if await trial.follow(evaluation, batch, pull, self._surround):
            await self.checkpoint()
            await trial.promote()
            # One that was learnt longer ago than the query's history reaches back is not taken over.
            self._model = await self._offload.run(self._restore) or await self._learn()
            self._following.begin()
        elif trial.due():
            await self.checkpoint()
            async with self._slots:
                await trial.renew(history, self._surround)

    async def _improve(self, model: QueryModel) -> None:
        """After the step is out: give forecaster and detector their shares of the time until the next one."""
        seconds = work_seconds(self.query.step)
        await self._at_model.run(model.forecaster.work, seconds)
        if self._beside is not None:
            await self._at_model.run(self._beside.work, model, seconds)
        for horizon, ratio in model.forecaster.coverage().items():
            if np.isfinite(ratio):
                self._metrics.forecast_coverage.labels(self.query.name, format_duration(horizon)).set(ratio)

    async def _pull(self, expr: str, start_ms: int, end_ms: int) -> SeriesBatch:
        if start_ms == end_ms:
            return await self._source.instant(
                expr, at_ms=end_ms, name=self.query.name, max_series=self._max_series
            )
        return await self._source.range(
            expr,
            start_ms=start_ms,
            end_ms=end_ms,
            step_ms=self.step_ms,
            name=self.query.name,
            max_series=self._max_series,
        )

    def _judge(self, model: QueryModel, batch: SeriesBatch) -> Evaluation | None:
        evaluation = model.update(batch)
        if evaluation is not None:
            evaluation = without_new_absences(evaluation, self.evaluation, batch.warnings)
            evaluation = replace(evaluation, severity=self._following.severity(evaluation))
            for sink in self._sinks:
                sink.publish(evaluation)
        return evaluation

    def _publish(self, evaluation: Evaluation, batch: SeriesBatch, n_borrowing: int) -> None:
        first = self.evaluation is None
        self.evaluation = evaluation
        self.ready = True
        name = self.query.name
        metrics = self._metrics
        present = np.isfinite(evaluation.actual)
        scored = np.isfinite(evaluation.anomaly_score)
        metrics.evaluations.labels(name, "ok").inc()
        metrics.series.labels(name).set(int(present.sum()))
        metrics.warming_up.labels(name).set(int((present & ~scored).sum()))
        metrics.borrowing.labels(name).set(n_borrowing)
        with np.errstate(invalid="ignore"):
            metrics.anomalous.labels(name).set(int((evaluation.anomaly_score > 1).sum()))
        metrics.last_success.labels(name).set(evaluation.timestamp_ms / 1000)
        for warning in set(batch.warnings) - self._warned:
            self._log.warning("source answered with a warning", warning=warning)
        self._warned = set(batch.warnings)
        if first and not present.any():
            some_did = self._model is not None and self._model.seen_points.any()
            self._log.info("no series match now, some did" if some_did else NO_SERIES, expr=self.query.expr)
        if first:
            self._bus.publish(
                Event(
                    "query.scored",
                    self._now(),
                    {"query": name, "n_series": int(present.sum()), "n_scored": int(scored.sum())},
                )
            )
        self._following.observe(evaluation, int(scored.sum()))
        self._upheavals.observe_series(int(present.sum()))

    async def checkpoint(self, model: QueryModel | None = None) -> None:
        """Save the model's state, if it moved since the last save; a failure is counted and survived."""
        model = model or self._model
        if model is None:
            return
        try:
            if not await self._at_model.run(self._save, model):
                return
        except (OSError, ModelError) as error:
            self._metrics.snapshots.labels("error").inc()
            if self._unsaved != str(error):
                self._unsaved = str(error)
                self._log.warning("model not saved, will try again", path=str(self._path), err=str(error))
            return
        if self._unsaved is not None:
            self._unsaved = None
            self._log.info("model saved again", path=str(self._path))
        self._metrics.snapshots.labels("ok").inc()
        self._metrics.snapshot_time.set(self._now())

    def _save(self, model: QueryModel) -> bool:
        from sidecar.engine.snapshot import save

        if model.last_timestamp_ms in (None, self._saved_at_ms):
            return False
        self._path.parent.mkdir(parents=True, exist_ok=True)
        save(model, self._path)
        if self._trial is not None:
            self._trial.save()
        self._saved_at_ms = model.last_timestamp_ms
        return True

    async def band(self) -> LearnedBand | None:
        """The learned expectation by hour of week, or None before anything was learnt."""
        if self._model is None or self._model.last_timestamp_ms is None:
            return None
        return await self._at_model.run(self._model.learned_band)

    def retire(self) -> None:
        """Take the query out of every sink and metric."""
        for sink in self._sinks:
            sink.retire(self.query.name)
        self._metrics.forget(self.query.name)
        if self._trial is not None:
            self._trial.retire()
        if self._beside is not None:
            self._beside.forget()
