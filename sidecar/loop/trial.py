"""A challenger on trial: it judges a share of a query's series beside the champion, and wins or not."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.config.model import QueryConfig
from sidecar.config.models import ModelsConfig
from sidecar.durable import replace_file
from sidecar.errors import ModelError, PullError
from sidecar.events import Event, EventBus
from sidecar.loop.beside import work_seconds
from sidecar.loop.clock import AHEAD_SECONDS
from sidecar.loop.missed import judged_but_newest
from sidecar.offload import Offload
from sidecar.ports import Sink
from sidecar.series import Evaluation, FloatArray, LabelSet, RowArray, SeriesBatch
from sidecar.telemetry import get_logger

if TYPE_CHECKING:  # The engine is imported in a worker thread: numba costs half a second.
    from sidecar.engine.model import QueryModel
    from sidecar.engine.registry_models import ModelFiles
    from sidecar.engine.trial import LiveContest

DRIFTING_SHARE = 0.2
DRIFTING_SECONDS = 3600.0
"""So large a part of a query's series has to drift for so long before a challenger is learnt."""

GIVEN_UP = 3.0
"""After so many times the trial's length a challenger that is not better is given up."""

CHALLENGER = ":challenger"

ACROSS = frozenset({"siblings", "multivariate", "council"})
"""Detectors that judge a series by the others: a share of the series would be judged by fewer."""

Pull = Callable[[int, int], Awaitable[SeriesBatch]]
"""The query's values between two times, both included, ms."""

Dress = Callable[["QueryModel"], None]
"""Tells a model what the configuration knows around its series."""

FileMark = tuple[int, int]
"""Time of change (ns) and size: another file has another one."""


class TrialMetrics:
    """What is told of challengers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.points = Gauge(
            "pronoia_trial_points",
            "Points that champion and challenger of a query have both judged live.",
            ["query"],
            registry=registry,
        )
        self.error = Gauge(
            "pronoia_trial_mean_error",
            "Mean distance from the expected over these points, in mean changes of the series.",
            ["query", "role"],
            registry=registry,
        )
        self.flagged = Gauge(
            "pronoia_trial_flagged_points",
            "Of these points, the flagged.",
            ["query", "role"],
            registry=registry,
        )
        self.changes = Counter(
            "pronoia_model_changes_total",
            "Challengers that were learnt because of drift, promoted, or given up.",
            ["query", "what"],
            registry=registry,
        )

    def forget(self, query: str) -> None:
        """Drop what is told of a trial that is over."""
        for gauge in (self.points, self.error, self.flagged):
            gauge.remove_by_labels({"query": query})


class Trial:
    """The challenger of one query, where there is one; it is followed step by step.

    What it says is compared and, if wanted, exported; nothing of it reaches events or rules.
    """

    def __init__(
        self,
        query: QueryConfig,
        config: ModelsConfig,
        *,
        directory: Path,
        offload: Offload,
        bus: EventBus,
        metrics: TrialMetrics,
        shown: Sequence[Sink] = (),
        drifting: Callable[[str], float] = lambda _: 0.0,
        now: Callable[[], float],
    ) -> None:
        self._query, self._config = query, config
        self._path = directory / f"{query.name}.challenger.version"
        self._notes = directory / f"{query.name}.trial"
        self._offload, self._bus, self._metrics, self._now = offload, bus, metrics, now
        self._shown = shown if config.export_challenger else ()
        self._drifting = drifting
        self._drifting_since: float | None = None
        self._quiet_until = now() + config.trial
        """Before this no challenger is learnt because of drift."""
        self._log = get_logger("trial").bind(query=query.name)
        self._model: QueryModel | None = None
        self._contest: LiveContest
        self._since = 0.0
        self._fitted_ms: int | None = None
        self._loaded: FileMark | None = None
        self._refused: FileMark | None = None
        self._labels: tuple[LabelSet, ...] = ()
        self._tried: tuple[LabelSet, ...] = ()
        self._chosen: RowArray = np.zeros(0, dtype=np.int64)
        self._aligned: tuple[tuple[LabelSet, ...], tuple[LabelSet, ...]] = ((), ())
        self._rows: RowArray = np.zeros(0, dtype=np.int64)

    async def follow(self, evaluation: Evaluation, batch: SeriesBatch, pull: Pull, dress: Dress) -> bool:
        """Let the challenger judge what the champion has just judged; True when it has won."""
        if self._model is not None and (
            # Somebody promoted it, took it away, or put another one in its place; or it saw a false future.
            self._mark() != self._loaded or _is_ahead(self._model, evaluation.timestamp_ms)
        ):
            self._close()
        now_ms, n_series = evaluation.timestamp_ms, len(evaluation.labels)
        if self._model is None and not await self._begin(now_ms, n_series, pull, dress):
            return False
        theirs = await self._offload.run(self._judge, batch, evaluation)
        if theirs is not None:
            for sink in self._shown:
                await self._offload.run(sink.publish, replace(theirs, query=self._query.name + CHALLENGER))
        return self._decide()

    def due(self) -> bool:
        """Whether a challenger is to be learnt now, because many series drift for long."""
        share = self._drifting(self._query.name) if self._config.refit_on_drift else 0.0
        now = self._now()
        waits = self._path.exists() and self._refused is None
        if share < DRIFTING_SHARE or waits:
            self._drifting_since = None
            return False
        if self._drifting_since is None:
            self._drifting_since = now
        return now - self._drifting_since >= DRIFTING_SECONDS and now >= self._quiet_until

    async def renew(self, history: Callable[[], Awaitable[SeriesBatch]], dress: Dress) -> None:
        """Learn a challenger from history, up to what the saved champion has seen."""
        self._quiet_until, self._drifting_since = self._now() + self._config.trial, None
        try:
            await self._offload.run(self._train, await history(), dress)
        except (PullError, ModelError, OSError) as error:
            self._log.warning("no challenger learnt, will try again when it drifts still", err=str(error))
        else:
            self._tell("refitted", "learnt from history because many series drift")

    def _train(self, history: SeriesBatch, dress: Dress) -> None:
        from sidecar.engine.registry_models import train

        train(self._query, history, self._files(), dress)

    async def promote(self) -> None:
        """Put the challenger in the champion's place; that becomes a version. Raises: OSError."""
        await self._offload.run(self._put_next)
        self._close()

    def _put_next(self) -> None:
        self._files().promote(self._query.name)

    def _files(self) -> ModelFiles:
        from sidecar.engine.registry_models import ModelFiles

        return ModelFiles(self._path.parent)

    def save(self) -> None:
        """Keep the standings for a restart. Raises: OSError."""
        if self._model is None:
            return
        notes = {"of": self._fitted_ms, "since": self._since, **self._contest.kept()}
        text = json.dumps(notes).encode()
        replace_file(self._notes, lambda file: file.write(text))

    def retire(self) -> None:
        """Take the trial out of every sink and metric; its files stay."""
        self._model = None
        self._metrics.forget(self._query.name)
        for sink in self._shown:
            sink.retire(self._query.name + CHALLENGER)

    def _close(self) -> None:
        self._notes.unlink(missing_ok=True)
        self.retire()

    def _mark(self) -> FileMark | None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return None
        return stat.st_mtime_ns, stat.st_size

    async def _begin(self, now_ms: int, n_series: int, pull: Pull, dress: Dress) -> bool:
        """Load the challenger that waits and let it see what it missed; False where there is none."""
        model = await self._offload.run(self._load, now_ms)
        if model is None:
            return False
        dress(model)
        last_ms = model.last_timestamp_ms or now_ms
        oldest_ms = now_ms - round(self._query.history * 1000)
        step_ms = round(self._query.step * 1000)
        start_ms = max(last_ms + step_ms, oldest_ms)
        if start_ms < now_ms:

            async def learn(missed: SeriesBatch, *_: int) -> None:
                await self._offload.run(model.fit, self._part(missed))

            try:
                _, newest = await judged_but_newest(
                    start_ms,
                    now_ms - step_ms,
                    step_ms,
                    n_series=n_series,
                    pull=pull,
                    judge=learn,
                    not_yet=lambda _: False,
                )
            except PullError as error:
                self._log.warning("challenger not brought up to date, will try again", err=str(error))
                return False
            await learn(newest)
        self._model = model
        return True

    def _load(self, now_ms: int) -> QueryModel | None:
        from sidecar.engine.snapshot import load
        from sidecar.engine.trial import LiveContest

        mark = self._mark()
        if mark is None or mark == self._refused:
            return None
        try:
            model = load(self._path, self._query)
            if _is_ahead(model, now_ms):
                raise ModelError("it was learnt while the source's clock was ahead")
        except ModelError as error:
            self._refused = mark
            self._log.warning("challenger set aside", path=str(self._path), err=str(error))
            return None
        self._loaded, self._refused = mark, None
        self._contest, self._since, self._aligned = LiveContest(), self._now(), ((), ())
        self._fitted_ms = model.last_timestamp_ms
        self._recall()
        self._log.info("a challenger is on trial", path=str(self._path))
        return model

    def _recall(self) -> None:
        try:
            notes: dict[str, Any] = json.loads(self._notes.read_text(encoding="utf-8"))
            if notes["of"] == self._fitted_ms:
                self._contest.recall(notes)
                self._since = float(notes["since"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._log.warning("standings of the trial set aside", err=str(error))

    def _part(self, batch: SeriesBatch) -> SeriesBatch:
        """The series on trial."""
        from sidecar.engine.trial import share_of

        if batch.labels != self._labels:  # Of the same label sets this is quick: each is itself.
            share = 1.0 if self._query.detector in ACROSS else self._config.challenger_share
            self._labels, self._chosen = batch.labels, share_of(batch.labels, share)
            self._tried = tuple(batch.labels[row] for row in self._chosen)
        return SeriesBatch(batch.query, self._tried, batch.timestamps, batch.values[self._chosen])

    def _judge(self, batch: SeriesBatch, champion: Evaluation) -> Evaluation | None:
        from sidecar.engine.protocols import WorksBeside
        from sidecar.engine.trial import Said

        model, contest = self._model, self._contest
        assert model is not None
        theirs = model.update(self._part(batch))
        if isinstance(model.detector, WorksBeside):
            # What `dress` has put aside; without its share of time a council would never speak here.
            model.detector.work(work_seconds(self._query.step))
        if theirs is None:
            return None
        self._align(champion.labels, theirs.labels)

        def ours(values: FloatArray) -> FloatArray:
            return np.where(self._rows >= 0, values[self._rows], np.nan)

        contest.observe(
            theirs.actual,
            Said(
                *(
                    ours(a)
                    for a in (champion.expected, champion.lower, champion.upper, champion.anomaly_score)
                )
            ),
            Said(theirs.expected, theirs.lower, theirs.upper, theirs.anomaly_score),
        )
        self._metrics.points.labels(self._query.name).set(contest.n_points)
        for role, one in contest.standings().items():
            self._metrics.error.labels(self._query.name, role).set(one.mean_error)
            self._metrics.flagged.labels(self._query.name, role).set(one.flagged)
        return theirs

    def _align(self, ours: tuple[LabelSet, ...], theirs: tuple[LabelSet, ...]) -> None:
        """Find the champion's row of each of the challenger's; rows that changed hands begin anew."""
        before_ours, before = self._aligned
        if before_ours is ours and before is theirs:
            return
        changed = [row for row, (old, new) in enumerate(zip(before, theirs, strict=False)) if old != new]
        self._contest.reset(np.array(changed, dtype=np.int64))
        self._contest.resize(len(theirs))
        row_of = {one: row for row, one in enumerate(ours)}
        self._rows = np.array([row_of.get(one, -1) for one in theirs], dtype=np.int64)
        self._aligned = ours, theirs

    def _decide(self) -> bool:
        from sidecar.engine.registry_models import LEAST_POINTS, verdict

        lasting = self._now() - self._since
        if lasting < self._config.trial:
            return False
        better, words = verdict(self._contest.standings())
        if better and self._config.promote == "when_better":
            self._tell("promoted", words)
            return True
        decided = self._contest.n_points >= LEAST_POINTS
        if decided and not better and lasting >= GIVEN_UP * self._config.trial:
            self._tell("given up", words)
            self._path.unlink(missing_ok=True)
            self._close()
        return False

    def _tell(self, what: str, words: str) -> None:
        name = self._query.name
        self._metrics.changes.labels(name, what.replace(" ", "_")).inc()
        self._log.info(f"challenger {what}", reason=words)
        facts = {"query": name, "what": what, "reason": words}
        self._bus.publish(Event("model.changed", self._now(), facts))


def _is_ahead(model: QueryModel, now_ms: int) -> bool:
    """Whether it has seen a time that is so far off that waiting for it is of no use."""
    return (model.last_timestamp_ms or 0) - now_ms > AHEAD_SECONDS * 1000
