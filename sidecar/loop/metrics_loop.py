"""The metrics loop: one task for each watched query, each on its own step."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import chain, repeat

from sidecar.background import Background
from sidecar.config.model import QueryConfig
from sidecar.errors import PullError, PullReason, SidecarError
from sidecar.loop.clock import SourceClock
from sidecar.loop.metrics import LoopMetrics
from sidecar.loop.watch import Watch
from sidecar.series import LearnedBand
from sidecar.telemetry import get_logger

AWAY = frozenset({PullReason.UNREACHABLE, PullReason.CIRCUIT_OPEN})
"""Failures that are no query's own: all of them wait for the same server."""
NOTHING_YET = "the source has no series worth watching yet"
RETRY_SECONDS = 5.0
"""While a query has no model yet, so long between tries; the client's breaker spares the server."""
LOOK_AGAIN_SECONDS = (60.0, 540.0, 1200.0, 3600.0, 6 * 3600.0, 86400.0)
"""Pauses before what a proposal did not see yet is looked for; the last one again and again.

A Prometheus that began with us has scraped nearly nothing at first: a rate takes minutes, a state that
never moves is known after a quarter of an hour.
"""


class MetricsLoop:
    """Keeps every query's scores up to date, whatever happens to the source.

    `propose` is given what is watched and asked, again and again until the
    source answers, for what to watch beside it, where the configuration names
    nothing; and later for what has come since. `before`: what another loop
    watched, which is retired once it is known that this one does not.
    """

    def __init__(
        self,
        queries: Sequence[QueryConfig],
        *,
        make_watch: Callable[[QueryConfig], Watch],
        propose: Callable[[Sequence[QueryConfig]], Awaitable[Sequence[QueryConfig]]],
        clock: SourceClock,
        metrics: LoopMetrics,
        snapshot_interval_seconds: float,
        before: Sequence[Watch] = (),
    ) -> None:
        self._configured = queries
        self._make_watch = make_watch
        self._propose = propose
        self._clock = clock
        self._metrics = metrics
        self._snapshot_interval = snapshot_interval_seconds
        self._log = get_logger("metrics-loop")
        self._beginning = Background("metrics-loop")
        self._tasks: list[asyncio.Task[None]] = []
        self.watches: list[Watch] = []
        self._before = list(before)
        self.errors: dict[str, str] = {}
        """What keeps a query from being judged now, by its name, the newest last; by no name of proposing."""
        self._told: dict[str, str] = {}
        """What was told of a query's own trouble, by its name."""
        self._away_at: float | None = None
        """When the source was last seen to be away, which is told once and not of each query."""

    @property
    def ready(self) -> bool:
        """True once a first pull was scored."""
        return any(watch.ready for watch in self.watches)

    @property
    def last_error(self) -> str | None:
        """The newest of what is wrong now."""
        return next(reversed(self.errors.values()), None)

    @property
    def queries(self) -> list[QueryConfig]:
        """What is watched now: as configured, or as proposed."""
        return [watch.query for watch in self.watches]

    @property
    def shown(self) -> list[Watch]:
        """All that may stand on pages and in metrics: what is watched, and what was before that is known."""
        return [*self.watches, *self._before]

    def start(self) -> None:
        """Start the loop's tasks on the running event loop."""
        self._beginning.start(self._run())

    async def stop(self) -> None:
        """End every task and save every model."""
        await self._beginning.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        saves = (watch.checkpoint() for watch in self.watches)
        for outcome in await asyncio.gather(*saves, return_exceptions=True):
            if isinstance(outcome, Exception):
                self._log.error("a model is not saved, its steps are judged anew at start", exc_info=outcome)

    async def bands(self, names: Collection[str]) -> list[LearnedBand]:
        """What is learnt by hour of week, of those of the queries that have learnt something."""
        found = [await watch.band() for watch in self.watches if watch.query.name in names]
        return [band for band in found if band is not None]

    async def _run(self) -> None:
        queries = self._configured or await self._wait_for_proposal()
        watches = [self._make_watch(query) for query in queries]
        if self._before:
            self._hand_over(watches)
            gc.collect()  # Their parts refer to each other, and to as much memory as all models take.
        self._begin(watches)
        if not self._configured:
            await self._look_again()

    def _begin(self, watches: Sequence[Watch]) -> None:
        """Watch these beside the others."""
        self.watches.extend(watches)
        self._tasks.extend(
            asyncio.create_task(self._keep(watch), name=f"watch-{watch.query.name}") for watch in watches
        )

    async def _look_again(self) -> None:
        """Watch what has come since the first proposal too.

        What is watched stays, for it has learnt; unless it is proposed anew by its name, with more labels.
        """
        for pause_seconds in chain(LOOK_AGAIN_SECONDS, repeat(LOOK_AGAIN_SECONDS[-1])):
            await asyncio.sleep(pause_seconds)
            queries = await self._wait_for_proposal()
            if queries:
                self._log.info("more to watch than before", queries=[query.name for query in queries])
                await self._leave({query.name for query in queries})
                self._begin([self._make_watch(query) for query in queries])

    async def _leave(self, names: Collection[str]) -> None:
        """Watch those no more, of which others take the place."""
        left = [task for task in self._tasks if task.get_name() in {f"watch-{name}" for name in names}]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._tasks = [task for task in self._tasks if task not in left]
        for watch in [watch for watch in self.watches if watch.query.name in names]:
            self.watches.remove(watch)
            watch.retire()  # Its scores are of other series than those that come.

    def _hand_over(self, watches: Sequence[Watch]) -> None:
        """Let these go on where those of their names were before; the others are taken off the page."""
        kept = {watch.query.name: watch for watch in watches}
        for before in self._before:
            if (watch := kept.get(before.query.name)) is not None:
                watch.take_over(before)
            else:
                self._log.info("no longer watched, its model is kept for 30 days", query=before.query.name)
                before.retire()
        self._before.clear()

    async def _wait_for_proposal(self) -> Sequence[QueryConfig]:
        """What to watch beside what is watched already; the first time, until there is something."""
        while True:
            began = time.monotonic()
            try:
                queries = await self._propose(self.queries)
            except SidecarError as error:
                self._complain("no proposal of queries yet", error)
            except Exception as error:
                # The loop's edge: an answer that nobody foresaw must not leave everything unwatched for ever.
                if self._is_new(repr(error)):
                    self._log.exception("proposing queries broke off, will try again")
            else:
                if queries or self.watches:
                    self._well("", began)
                    return queries
                if self._is_new(NOTHING_YET):
                    self._log.info("nothing to watch yet, will look again")
            await asyncio.sleep(RETRY_SECONDS)

    async def _keep(self, watch: Watch) -> None:
        """Learn, then step and save for ever; a failure is told once, counted each time, and tried again."""
        prepared, name = False, watch.query.name
        saved_at = time.monotonic()
        while True:
            began, failure = time.monotonic(), None
            try:
                if not prepared:
                    await watch.prepare()
                    prepared = True
                await watch.step()
                if began - saved_at >= self._snapshot_interval:
                    saved_at = began
                    await watch.checkpoint()
                self._well(name, began)
            except SidecarError as error:
                failure = error
                self._metrics.evaluations.labels(name, "error").inc()
                self._complain("query not evaluated, its steps will be caught up", error, query=name)
            except Exception as error:
                # The loop's edge: a defect in one query must not blind the others.
                self._metrics.evaluations.labels(name, "error").inc()
                if self._is_new(repr(error), name):
                    self._log.exception("evaluation broke off", query=name)
            self._metrics.duration.observe(time.monotonic() - began)
            self._metrics.clock_skew.set(self._clock.skew_seconds)
            until_next = self._clock.until_next_step(watch.query.step, watch.query.offset)
            await asyncio.sleep(until_next if prepared else pause(until_next, failure))

    def _complain(self, message: str, error: SidecarError, **query: str) -> None:
        """Tell of a failure, unless it is the one that was told already."""
        if error.reason in AWAY:
            words, name = str(error), query.get("query", "")
            self.errors.pop(name, None)
            self.errors[name] = words
            if self._away_at is None:
                self._log.warning(
                    "source not reached, missed steps will be caught up", reason=error.reason, err=words
                )
            self._away_at = time.monotonic()
        elif self._is_new(str(error), *query.values()):
            self._log.warning(message, reason=error.reason, err=str(error), **query)

    def _is_new(self, words: str, query: str = "") -> bool:
        """Keep what is wrong with a query; whether that is something else than was told before."""
        before = self._told.get(query)
        self.errors.pop(query, None)
        self.errors[query] = self._told[query] = words
        return words != before

    def _well(self, query: str, began: float) -> None:
        """A query was answered, asked at that time of the monotonic clock; tell where it was not before."""
        self.errors.pop(query, None)
        told = self._told.pop(query, None)
        # What was under way when the source went away says nothing of it now.
        if self._away_at is not None and began > self._away_at:
            self._away_at = None
            self._log.info("source answers again")
        elif told is not None and query:
            self._log.info("query is answered again", query=query)


def pause(until_next_seconds: float, failure: SidecarError | None) -> float:
    """How long to wait with a query that has no model yet: briefly, unless asking again soon is of no use."""
    # What a server refuses, or what is too large, costs it the same each time.
    refused = isinstance(failure, PullError) and not failure.retryable
    return until_next_seconds if refused else min(until_next_seconds, RETRY_SECONDS)
