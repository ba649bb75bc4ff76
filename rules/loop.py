"""The rules loop: learn, render, check, publish, watch, take back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from rules.document import RuleFile, render, shape
from rules.incidents import KnownIncident
from rules.learn import learn
from rules.live import LiveWatch, no_incidents
from rules.metrics import RuleMetrics
from rules.patience import Patience
from rules.places import publisher_for
from rules.prove import Prover
from rules.publisher import Found, RulePublisher
from rules.revise import Reviser, failed_live
from rules.verify import RuleServer
from sidecar.background import Background
from sidecar.config.model import QueryConfig, RulesConfig
from sidecar.errors import RuleError, RuleReason, SidecarError
from sidecar.events import EventBus
from sidecar.ports import RuleStore, Source
from sidecar.records import RuleRevision
from sidecar.series import LearnedBand
from sidecar.telemetry import get_logger

WATCH_SECONDS = 30.0
FIRST_WAIT_SECONDS = 2.0
LATE_SECONDS = 15.0
"""How often to ask whether queries have learnt something since the last run; all of them are looked at."""

FINE = ("ok", "unchanged", RuleReason.THIN_EVIDENCE.value, RuleReason.NOT_APPLICABLE.value)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one query's rules in one run."""

    query: str
    result: str
    words: str = ""


class LateFiles(Protocol):
    """Files that are worked out while the process runs."""

    @property
    def groups(self) -> frozenset[str]:
        """What it may write; none of these is removed before it knows."""
        ...

    def files(self) -> Sequence[RuleFile] | None:
        """What is wanted now; None while that is not known yet."""
        ...


class RulesLoop:
    """Keeps the adaptive rules of every query in Prometheus, and nothing that Prometheus does not like."""

    def __init__(
        self,
        config: RulesConfig,
        *,
        queries: Callable[[], Sequence[QueryConfig]],
        bands: Callable[[Collection[str]], Awaitable[Sequence[LearnedBand]]],
        server: RuleServer,
        store: RuleStore,
        bus: EventBus,
        metrics: RuleMetrics,
        publisher: RulePublisher | None = None,
        source: Source | None = None,
        incidents: Callable[[], Awaitable[Sequence[KnownIncident]]] = no_incidents,
        fixed: Sequence[RuleFile] = (),
        late: LateFiles | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._queries = queries
        self._bands = bands
        self._metrics = metrics
        self._fixed = fixed
        self._late = late
        self._now = now
        self._log = get_logger("rules-loop")
        self._task = Background("rules-loop")
        self._lock = asyncio.Lock()
        self._latest: dict[str, Outcome] = {}
        self._tried: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._patience = Patience()
        self.last_error: str | None = None
        self.publisher: RulePublisher = publisher or publisher_for(config, server)
        self.reviser = Reviser(
            self.publisher,
            store,
            bus=bus,
            metrics=metrics,
            promtool=config.promtool,
            canary_seconds=config.canary,
            prover=Prover(source, now=now) if source is not None else None,
            now=now,
        )
        self.watch = LiveWatch(
            self.reviser,
            server,
            source=source,
            max_firing_ratio=config.adapt.max_firing_ratio,
            incidents=incidents,
            metrics=metrics,
            now=now,
        )

    def start(self) -> None:
        """Start the loop on the running event loop."""
        self._task.start(self._run())

    async def stop(self) -> None:
        """End the loop; a publication under way is finished or undone at the next start."""
        await self._task.stop()

    async def run_once(self) -> list[Outcome]:
        """Learn and publish every query's rules; one query's failure does not touch the others."""
        async with self._lock:
            queries = {query.name: query for query in self._queries() if query.rule}
            late = self._late.files() if self._late is not None else ()
            fixed = [*self._fixed, *(late or ())]
            if self._queries() or fixed:
                kept = self._late.groups if self._late is not None and late is None else frozenset()
                await self._retire_all_but({f"pronoia-{name}" for name in queries} | kept, fixed)
            self._latest = {}
            return await self._all_of(queries, fixed)

    async def run_late(self) -> list[Outcome]:
        """The same for what was not known yet when the last run was, and for nothing else.

        These are queries that had learnt nothing, and files that were not worked out, or are others now.
        """
        async with self._lock:
            waiting = {q.name: q for q in self._queries() if q.rule and q.name not in self._latest}
            known = (self._late.files() if self._late is not None else None) or ()
            files = [file for file in known if self._tried.get(file.group) != file.revision]
            return await self._all_of(waiting, files) if waiting or files else []

    async def _all_of(self, queries: Mapping[str, QueryConfig], fixed: Sequence[RuleFile]) -> list[Outcome]:
        slots = asyncio.Semaphore(self.publisher.at_once)
        self._tried |= {file.group: file.revision for file in fixed}
        wanted = [(band, queries[band.query]) for band in await self._bands(queries.keys())]
        done = await asyncio.gather(
            *(self._attempt(query.name, partial(self._one, band, query), slots) for band, query in wanted),
            *(self._attempt(file.group, partial(self._fixed_one, file), slots) for file in fixed),
            return_exceptions=True,
        )
        outcomes = [each for each in done if isinstance(each, Outcome)]
        for each in done:
            if isinstance(each, BaseException):
                raise each
        self._latest |= {outcome.query: outcome for outcome in outcomes}
        for outcome in outcomes:
            if outcome.result in FINE:
                self._told.pop(outcome.query, None)
        results = [outcome.result for outcome in self._latest.values()]
        self._metrics.live.set(sum(result in ("ok", "unchanged") for result in results))
        if outcomes and all(result in FINE for result in results):
            self._metrics.last_success.set(self._now())
            self.last_error = None
            self._told = {}
        return outcomes

    async def _attempt(
        self, name: str, work: Callable[[], Awaitable[Outcome]], slots: asyncio.Semaphore
    ) -> Outcome:
        async with slots:  # Begun here: who is stopped before its turn leaves nothing that nobody awaits.
            try:
                return await work()
            except RuleError as error:
                return self._failed(name, error)
            except (ValueError, ArithmeticError) as error:
                # A band that nobody foresaw must not cost the other queries their rules.
                self._log.exception("no rule from this band", query=name)
                return self._failed(name, RuleError(RuleReason.NOT_APPLICABLE, f"{name}: {error!r}"))

    async def rollback(self, group: str) -> RuleRevision | None:
        """Undo a group's last step by hand, its shadow or what is live; what is live then, if anything."""
        async with self._lock:
            return await self.reviser.undo(group, "rolled back by hand")

    async def recover(self) -> None:
        """After a crash: what is in place without being live is undone; what people wrote stays."""
        await self.reviser.recover()

    async def _run(self) -> None:
        pause = FIRST_WAIT_SECONDS
        recovered = False
        watched = time.monotonic()
        due = late = 0.0
        while True:
            await asyncio.sleep(pause)
            pause = FIRST_WAIT_SECONDS
            try:
                if not recovered:
                    await self.recover()
                    recovered = True
                if time.monotonic() >= due:
                    due = self._due_after(await self.run_once(), due)
                    late = time.monotonic() + LATE_SECONDS
                elif time.monotonic() >= late:
                    late = time.monotonic() + LATE_SECONDS
                    due = min(due, self._due_after(await self.run_late(), due))
                if time.monotonic() - watched >= WATCH_SECONDS:
                    watched = time.monotonic()
                    async with self._lock:
                        await self.watch.look()
            except SidecarError as error:
                self._complain(error)
                due = time.monotonic() + 15.0
            except Exception as error:
                # The loop's edge: rules may fail, scoring and alerts must not.
                self.last_error = repr(error)
                due = time.monotonic() + 60.0
                self._log.exception("rules loop broke off")

    def _due_after(self, outcomes: Sequence[Outcome], due: float) -> float:
        """When all is to run again; as it was where nothing came of a run."""
        if not outcomes:
            return due
        failed = {each.query: each.result for each in self._latest.values() if each.result not in FINE}
        if not failed:
            self._patience = Patience()
        if all(outcome.result in FINE for outcome in outcomes):
            return time.monotonic() + self._config.interval
        waited = self._patience.seconds
        wait = min(self._config.interval, self._patience.after(failed))
        if self._patience.seconds != waited:
            self._log.info("rules will be tried again", n_failed=len(failed), in_seconds=round(wait))
        return time.monotonic() + wait

    async def _one(self, band: LearnedBand, query: QueryConfig) -> Outcome:
        thresholds = learn(band, query, self._config)
        file, essence = render(thresholds, self._config), [*_essence(query), shape(thresholds, self._config)]
        history = await self.reviser.history(file.group)
        if any(revision.state == "canary" for revision in history):
            return self._unchanged(query.name, "its shadow runs")
        live = next((r for r in history if r.state == "live"), None)
        there = await self.reviser.in_place(file.group, history)
        if live is not None and there is not Found.SAME:
            # What an unfinished roll-back left is nothing to come back to, and where the file is gone, as
            # with a volume, its alerts do not wait until another was checked, or was a shadow for long.
            await self.publisher.restore(file.group, live.content)
        if live is not None:
            same = _goes_by(live, essence)
            if live.content_hash == file.revision or (same and thresholds.like(live.evidence.get("bounds"))):
                return self._unchanged(query.name)
        for old in history:
            if old.state == "live":
                break
            same = _goes_by(old, _essence(query))
            if failed_live(old) and same and thresholds.like(old.evidence.get("bounds")):
                return self._unchanged(query.name, "one like it was taken back")
        if self.reviser.refused(file):
            return Outcome(query.name, "unchanged", "this very revision was refused before")
        evidence = {
            "n_samples": thresholds.n_samples,
            "n_series": len(thresholds.above) or len(thresholds.below),
            "left_out": thresholds.left_out,
            "query": essence,
            "bounds": thresholds.bounds(),
        }
        await self.reviser.publish(
            file,
            evidence,
            live,
            thresholds=thresholds,
            query=query.name,
            n_samples=thresholds.n_samples,
            left_out=thresholds.left_out,
        )
        return Outcome(query.name, "ok")

    async def _fixed_one(self, file: RuleFile) -> Outcome:
        """A file that is not learned but written from the configuration."""
        history = await self.reviser.history(file.group)
        if any(revision.state == "canary" for revision in history):
            return self._unchanged(file.group, "its shadow runs")
        live = next((r for r in history if r.state == "live"), None)
        there = await self.reviser.in_place(file.group, history)
        if live is not None and there is not Found.SAME:
            await self.publisher.restore(file.group, live.content)
        if live is not None and live.content_hash == file.revision:
            return self._unchanged(file.group)
        newest = history[0] if history else None
        if newest is not None and failed_live(newest) and newest.content_hash == file.revision:
            return self._unchanged(file.group, "it was taken back")
        if self.reviser.refused(file):
            return Outcome(file.group, "unchanged", "this very revision was refused before")
        await self.reviser.publish(file, {}, live)
        return Outcome(file.group, "ok")

    def _unchanged(self, name: str, words: str = "") -> Outcome:
        self._metrics.published.labels("unchanged").inc()
        return Outcome(name, "unchanged", words)

    def _failed(self, query: str, error: RuleError) -> Outcome:
        self._metrics.published.labels(error.reason).inc()
        if error.reason in FINE:
            self._log.info("no rule yet", query=query, why=str(error))
        else:
            self._complain(error, query)
            self.reviser.tell("rules.failed", query=query, reason=error.reason, error=str(error))
        return Outcome(query, error.reason, str(error))

    async def _retire_all_but(self, kept: Set[str], fixed: Sequence[RuleFile]) -> None:
        """Remove the files of what is no longer configured, or wants no rule any more."""
        wanted = kept | {file.group for file in fixed}
        for group, live in (await self.reviser.live()).items():
            if group not in wanted:
                try:
                    await self.reviser.in_place(group, await self.reviser.history(group))
                    await self.publisher.restore(group, None)
                except RuleError as error:
                    self._failed(group, error)
                    continue
                await self.reviser.end(live, "query removed")
                self._log.info("rule removed with its query", group=group)
        for shadow in await self.reviser.shadows():
            if shadow.group not in wanted:
                try:
                    await self.reviser.end_shadow(shadow, "query removed")
                except RuleError as error:
                    self._failed(shadow.group, error)

    def _complain(self, error: SidecarError, query: str = "") -> None:
        if self._told.get(query) != str(error):
            fields = {"query": query} if query else {}
            self._log.warning("rule not published", reason=error.reason, err=str(error), **fields)
        self._told[query] = self.last_error = str(error)


def _essence(query: QueryConfig) -> list[object]:
    """What of a query stands in its rules: a change of it is worth a new revision at once."""
    return [query.expr, query.rule_for, query.severity, query.direction]


def _goes_by(revision: RuleRevision, essence: list[object]) -> bool:
    """Whether it was made of that, as far as both say what of; earlier versions said less."""
    told = revision.evidence.get("query")
    return isinstance(told, list) and all(a == b for a, b in zip(told, essence, strict=False))
