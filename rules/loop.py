"""The rules loop: learn, render, check, publish, watch, take back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge

from rules.document import RuleFile, render
from rules.learn import learn
from rules.places import publisher_for
from rules.publisher import Found, RulePublisher
from rules.validate import check
from rules.verify import RuleServer, is_revision, members
from sidecar.config.model import QueryConfig, RulesConfig
from sidecar.errors import PullError, RuleError, RuleReason, SidecarError, StoreError
from sidecar.events import Event, EventBus
from sidecar.ports import RuleStore
from sidecar.records import RuleRevision
from sidecar.series import LearnedBand
from sidecar.telemetry import get_logger

WATCH_SECONDS = 30.0
FIRST_WAIT_SECONDS = 2.0
FINE = ("ok", "unchanged", RuleReason.THIN_EVIDENCE.value, RuleReason.NOT_APPLICABLE.value)


class RuleMetrics:
    """What the rules loop tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.published = Counter(
            "pronoia_rules_published_total",
            "Rule files published or not, by result.",
            ["result"],
            registry=registry,
        )
        for result in ("ok", "unchanged", *(reason.value for reason in RuleReason)):
            self.published.labels(result)
        self.rolled_back = Counter(
            "pronoia_rules_rolled_back_total", "Live rule files that were taken back.", registry=registry
        )
        self.live = Gauge(
            "pronoia_rules_live_groups", "Generated rule groups that are live.", registry=registry
        )
        self.last_success = Gauge(
            "pronoia_rules_last_success_timestamp_seconds",
            "Time of the last run in which every query's rules were in order.",
            registry=registry,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one query's rules in one run."""

    query: str
    result: str
    words: str = ""


class RulesLoop:
    """Keeps the adaptive rules of every query in Prometheus, and nothing that Prometheus does not like."""

    def __init__(
        self,
        config: RulesConfig,
        *,
        queries: Callable[[], Sequence[QueryConfig]],
        bands: Callable[[], Awaitable[Sequence[LearnedBand]]],
        server: RuleServer,
        store: RuleStore,
        bus: EventBus,
        metrics: RuleMetrics,
        publisher: RulePublisher | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._queries = queries
        self._bands = bands
        self._server = server
        self._store = store
        self._bus = bus
        self._metrics = metrics
        self._now = now
        self._log = get_logger("rules-loop")
        self._task: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._refused: dict[str, str] = {}
        self.last_error: str | None = None
        self.publisher: RulePublisher = publisher or publisher_for(config, server)

    def start(self) -> None:
        """Start the loop on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="rules-loop")

    async def stop(self) -> None:
        """End the loop; a publication under way is finished or undone at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def run_once(self) -> list[Outcome]:
        """Learn and publish every query's rules; one query's failure does not touch the others."""
        async with self._lock:
            queries = {query.name: query for query in self._queries() if query.rule}
            if self._queries():
                await self._retire_all_but(queries)
            slots = asyncio.Semaphore(self.publisher.at_once)
            wanted = [(band, queries[band.query]) for band in await self._bands() if band.query in queries]
            done = await asyncio.gather(
                *(self._attempt(band, query, slots) for band, query in wanted), return_exceptions=True
            )
            outcomes = [each for each in done if isinstance(each, Outcome)]
            for each in done:
                if isinstance(each, BaseException):
                    raise each
            self._metrics.live.set(sum(o.result in ("ok", "unchanged") for o in outcomes))
            if outcomes and all(o.result in FINE for o in outcomes):
                self._metrics.last_success.set(self._now())
                self.last_error = None
            return outcomes

    async def _attempt(self, band: LearnedBand, query: QueryConfig, slots: asyncio.Semaphore) -> Outcome:
        async with slots:
            try:
                return await self._one(band, query)
            except RuleError as error:
                return self._failed(query.name, error)
            except (ValueError, ArithmeticError) as error:
                # A band that nobody foresaw must not cost the other queries their rules.
                self._log.exception("no rule from this band", query=query.name)
                odd = RuleError(RuleReason.NOT_APPLICABLE, f"{query.name}: {error!r}")
                return self._failed(query.name, odd)

    async def rollback(self, group: str) -> RuleRevision | None:
        """Undo the live revision of a group by hand: the one before it comes back; None means no file."""
        async with self._lock:
            return await self._take_back(group, "rolled back by hand")

    async def recover(self) -> None:
        """After a crash between writing and verifying: what is on disk without being live is undone."""
        await self.publisher.sweep()
        for group, live in (await self._live()).items():
            if await self.publisher.found(group, live.content) is Found.OTHER:
                self._log.warning(
                    "rules in place differ from the live revision, putting that back", group=group
                )
                await self.publisher.restore(group, live.content)
        for revision in await self._store.revisions(limit=200):
            if revision.state == "proposed":
                if await self.publisher.found(revision.group, revision.content) is Found.SAME:
                    live_one = (await self._live()).get(revision.group)
                    await self.publisher.restore(revision.group, live_one.content if live_one else None)
                await self._store.put_revision(
                    msgspec.structs.replace(
                        revision, state="rejected", reason="interrupted before it was verified"
                    )
                )

    async def _run(self) -> None:
        pause = FIRST_WAIT_SECONDS
        recovered = False
        watched = time.monotonic()
        due = 0.0
        while True:
            await asyncio.sleep(pause)
            pause = FIRST_WAIT_SECONDS
            try:
                if not recovered:
                    await self.recover()
                    recovered = True
                if time.monotonic() >= due:
                    outcomes = await self.run_once()
                    if outcomes:
                        failed = any(o.result not in FINE for o in outcomes)
                        due = time.monotonic() + min(self._config.interval, 60.0 if failed else 1e9)
                if time.monotonic() - watched >= WATCH_SECONDS:
                    watched = time.monotonic()
                    await self._watch_live()
            except SidecarError as error:
                self._complain(error)
                due = time.monotonic() + 15.0
            except Exception as error:
                # The loop's edge: rules may fail, scoring and alerts must not.
                self.last_error = repr(error)
                due = time.monotonic() + 60.0
                self._log.exception("rules loop broke off")

    async def _one(self, band: LearnedBand, query: QueryConfig) -> Outcome:
        thresholds = learn(band, query, self._config)
        file = render(thresholds, self._config)
        history = await self._store.revisions(group=file.group, limit=200)
        live = next((r for r in history if r.state == "live"), None)
        there = await self.publisher.found(file.group, live.content) if live is not None else Found.ABSENT
        if live is not None and there is Found.OTHER:
            # What an unfinished roll-back or a person left is nothing to come back to.
            await self.publisher.restore(file.group, live.content)
        if live is not None and there is Found.SAME:
            same = live.evidence.get("query") == _essence(query)
            if live.content_hash == file.revision or (same and thresholds.like(live.evidence.get("bounds"))):
                self._metrics.published.labels("unchanged").inc()
                return Outcome(query.name, "unchanged")
        for old in history:
            if old.state == "live":
                break
            same = old.evidence.get("query") == _essence(query)
            if old.state == "rolled_back" and same and thresholds.like(old.evidence.get("bounds")):
                self._metrics.published.labels("unchanged").inc()
                return Outcome(query.name, "unchanged", "one like it was taken back")
        if self._refused.get(file.group) == file.revision:
            return Outcome(query.name, "unchanged", "this very revision was refused before")
        revision = RuleRevision(
            revision_id=f"{file.group}-{file.revision}-{int(self._now() * 1000):x}",
            group=file.group,
            created_at_ns=int(self._now() * 1e9),
            content=file.text,
            content_hash=file.revision,
            evidence={
                "n_samples": thresholds.n_samples,
                "n_series": len(thresholds.above) or len(thresholds.below),
                "left_out": thresholds.left_out,
                "query": _essence(query),
                "bounds": thresholds.bounds(),
            },
            checks={},
            state="proposed",
            replaces=live.revision_id if live else None,
        )
        facts: dict[str, Any] = {
            "query": query.name,
            "group": file.group,
            "revision": file.revision,
            "file": self.publisher.place(file.group),
        }
        self._tell("rules.proposed", **facts, n_samples=thresholds.n_samples, left_out=thresholds.left_out)
        try:
            revision.checks = await check(file.text, promtool=self._config.promtool)
            self._tell("rules.checked", **facts, checks=revision.checks)
            await self._store.put_revision(revision)
            await self.publisher.publish(file)
        except RuleError as error:
            await self._reject(revision, file, error)
            raise
        now_ns = int(self._now() * 1e9)
        if live is not None:
            await self._store.put_revision(
                msgspec.structs.replace(live, state="superseded", live_until_ns=now_ns)
            )
        revision.state, revision.live_from_ns = "live", now_ns
        await self._store.put_revision(revision)
        self._metrics.published.labels("ok").inc()
        self._log.info("rule published", **facts)
        self._tell("rules.published", **facts, checks=revision.checks)
        return Outcome(query.name, "ok")

    async def _reject(self, revision: RuleRevision, file: RuleFile, error: RuleError) -> None:
        if error.reason in (RuleReason.CHECK_FAILED.value, RuleReason.UNHEALTHY.value):
            self._refused[file.group] = file.revision  # The same text would fail the same way.
        revision.state, revision.reason = "rejected", f"{error.reason}: {error}"
        try:
            await self._store.put_revision(revision)
        except StoreError as trouble:
            self._log.warning("rejected revision not recorded", err=str(trouble))

    def _failed(self, query: str, error: RuleError) -> Outcome:
        self._metrics.published.labels(error.reason).inc()
        if error.reason in FINE:
            self._log.info("no rule yet", query=query, why=str(error))
        else:
            self._complain(error, query)
            self._tell("rules.failed", query=query, reason=error.reason, error=str(error))
        return Outcome(query, error.reason, str(error))

    async def _watch_live(self) -> None:
        """Take back what turned out bad after it was published."""
        live = await self._live()
        if not live:
            return
        try:
            loaded = await self._server.rules()
        except PullError:
            return  # A server that does not answer proves nothing about a rule.
        async with self._lock:
            for group, revision in live.items():
                rules = members(loaded, group)
                bad = [rule for rule in rules if rule.health == "err"]
                # The revision before it may be loaded still, a minute or two after it was taken back.
                if bad and is_revision(rules, revision.content_hash):
                    await self._take_back(group, f"{bad[0].name}: {bad[0].last_error}")

    async def _retire_all_but(self, queries: dict[str, QueryConfig]) -> None:
        """Remove the files of queries that are no longer configured, or want no rule any more."""
        wanted = {f"pronoia-{name}" for name in queries}
        for group, live in (await self._live()).items():
            if group not in wanted:
                await self.publisher.restore(group, None)
                ended = msgspec.structs.replace(
                    live, state="superseded", live_until_ns=int(self._now() * 1e9), reason="query removed"
                )
                await self._store.put_revision(ended)
                self._log.info("rule removed with its query", group=group)

    async def _take_back(self, group: str, why: str) -> RuleRevision | None:
        history = await self._store.revisions(group=group, limit=200)
        live = next((revision for revision in history if revision.state == "live"), None)
        if live is None:
            raise RuleError(
                RuleReason.NOT_LOADED, f"{group}: no revision of it is live; see pronoia rules list"
            )
        before = next(
            (r for r in history if r.state == "superseded" and r.revision_id == live.replaces), None
        )
        await self.publisher.restore(group, before.content if before else None)
        now_ns = int(self._now() * 1e9)
        await self._store.put_revision(
            msgspec.structs.replace(live, state="rolled_back", live_until_ns=now_ns, reason=why)
        )
        if before is not None:
            await self._store.put_revision(
                msgspec.structs.replace(before, state="live", live_from_ns=now_ns, live_until_ns=None)
            )
        self._metrics.rolled_back.inc()
        self._log.warning("rule taken back", group=group, why=why)
        self._tell("rules.rolled_back", group=group, revision=live.content_hash, why=why)
        return before

    async def _live(self) -> dict[str, RuleRevision]:
        revisions = await self._store.revisions(limit=10_000)
        return {revision.group: revision for revision in reversed(revisions) if revision.state == "live"}

    def _tell(self, kind: str, **facts: Any) -> None:
        self._bus.publish(Event(kind, self._now(), facts))

    def _complain(self, error: SidecarError, query: str = "") -> None:
        if str(error) != self.last_error:
            fields = {"query": query} if query else {}
            self._log.warning("rule not published", reason=error.reason, err=str(error), **fields)
        self.last_error = str(error)


def _essence(query: QueryConfig) -> list[object]:
    """What of a query stands in its rules: a change of it is worth a new revision at once."""
    return [query.expr, query.rule_for, query.severity, query.direction]
