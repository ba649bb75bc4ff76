"""Looks now and then how each query's series spent the last day, and who no longer does as its family."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.background import Background
from sidecar.config.behaviour import BehaviourConfig
from sidecar.config.model import QueryConfig
from sidecar.errors import ModelError, SidecarError
from sidecar.events import Event, EventBus
from sidecar.loop.clock import SourceClock
from sidecar.ports import HistorySource
from sidecar.series import FloatArray, LabelSet, SeriesBatch
from sidecar.telemetry import get_logger

if TYPE_CHECKING:  # The engine is imported by a worker: numba costs half a second.
    from sidecar.engine.behaviour import BehaviourFamilies, Leaver

DAY_MS = 86_400_000
MOST_COMPARED = 2_000
"""Each of so many series is compared with every other for the silhouette."""

FIRST_SECONDS = 60.0
"""After the start queries are read for their models first."""


class BehaviourMetrics:
    """What is told of families, on the registry that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.families = Gauge(
            "pronoia_behaviour_families",
            "Families of series that spend their days alike.",
            ["query"],
            registry=registry,
        )
        self.stability = Gauge(
            "pronoia_behaviour_stability_ratio",
            "How much the same families come out of other halves of the series; 1 is always.",
            ["query"],
            registry=registry,
        )
        self.left = Counter(
            "pronoia_behaviour_left_total", "Series that left their family.", ["query"], registry=registry
        )

    def forget(self, query: str) -> None:
        """Drop the children of a query that is no longer watched."""
        for metric in (self.families, self.stability, self.left):
            metric.remove_by_labels({"query": query})


@dataclass(frozen=True)
class Look:
    """What two days of a query say: the families of the first, who left them on the second."""

    labels: tuple[LabelSet, ...]
    families: BehaviourFamilies
    leavers: list[Leaver]
    distances: FloatArray
    """Of each series from where its family is on the second day, (N,), shares of the level."""
    silhouette: float
    """How much nearer series are to their own family than to the next, -1..1; 0 of a single one."""
    joined: list[tuple[list[int], float]]
    """How families join into larger ones, the most alike first."""
    until_ms: int


def look(batch: SeriesBatch) -> Look:
    """Families of the first day of two, and who left them on the second; a pure function, for any process."""
    from sidecar.engine.behaviour import days, distances_of, find_families, leavers, tree
    from sidecar.engine.detect.clusters import quality

    end_ms = int(batch.timestamps[-1]) if batch.n_steps else 0
    first = batch.timestamps <= end_ms - DAY_MS
    earlier = days(batch.timestamps[first], batch.values[:, first])
    now = days(batch.timestamps[~first], batch.values[:, ~first])
    found = find_families(earlier)
    known = np.flatnonzero(found.of_row >= 0)
    asked = np.random.default_rng(0).permutation(known)[:MOST_COMPARED]
    return Look(
        labels=batch.labels,
        families=found,
        leavers=leavers(found, earlier, now),
        distances=distances_of(found, now),
        silhouette=float(quality(earlier[asked], found.of_row[asked])[0]),
        joined=tree(found),
        until_ms=end_ms,
    )


def summary(found: Look) -> dict[str, Any]:
    """How many families, how sure, how large, who left."""
    families = found.families
    return {
        "until_ms": found.until_ms,
        "stability": round(families.stability, 3),
        "silhouette": round(found.silhouette, 3),
        "families": [
            {"family": family, "n_series": int((families.of_row == family).sum())}
            for family in range(families.n_families)
        ],
        "n_unknown": int((families.of_row < 0).sum()),
        "left": [
            {
                "labels": dict(found.labels[one.row]),
                "family": one.family,
                "like": one.like,
                "distance": round(one.distance, 4),
                "usual_distance": round(one.usual_distance, 4),
            }
            for one in found.leavers
        ],
    }


def details(found: Look) -> dict[str, Any]:
    """The summary, with each family's day and members, and how families join into larger ones."""
    families = found.families
    return {
        **summary(found),
        "families": [
            {
                "family": family,
                "n_series": int((families.of_row == family).sum()),
                "hours": families.middles[family].round(4).tolist(),
                "series": _members(found, family),
            }
            for family in range(families.n_families)
        ],
        "joined": [{"families": which, "distance": round(far, 4)} for which, far in found.joined],
    }


def _members(found: Look, family: int) -> list[dict[str, Any]]:
    """The members of a family, the one nearest to its middle first, those whose last day is unknown last."""
    rows = np.flatnonzero(found.families.of_row == family)
    rows = rows[np.argsort(found.distances[rows], kind="stable")]
    far = found.distances[rows].round(4).tolist()
    return [
        {"labels": dict(found.labels[row]), "distance": one if np.isfinite(one) else None}
        for row, one in zip(rows.tolist(), far, strict=True)
    ]


class BehaviourLoop:
    """Reads each query now and then, and tells who left its family: the event `series.left_family`."""

    def __init__(
        self,
        config: BehaviourConfig,
        *,
        queries: Callable[[], Sequence[QueryConfig]],
        source: HistorySource,
        bus: EventBus,
        worker: Executor,
        clock: SourceClock,
        metrics: BehaviourMetrics,
        max_series: int,
        now: Callable[[], float],
    ) -> None:
        self._config = config
        self._queries, self._source, self._bus, self._worker = queries, source, bus, worker
        self._clock, self._metrics, self._max_series, self._now = clock, metrics, max_series, now
        self._log = get_logger("behaviour")
        self._task = Background("behaviour")
        self._away: dict[str, frozenset[object]] = {}
        """Of each query, who had left already: told once, and again only after a return."""
        self._looks: dict[str, Look] = {}
        self._looking = asyncio.Lock()
        """One look at a time: each reads two days of a query."""

    def take_over(self, before: BehaviourLoop) -> None:
        """Go on where another one was when a reload ended it: who had left then does not leave now."""
        self._away = before._away

    def start(self) -> None:
        """Begin, where it is enabled."""
        if self._config.enabled:
            self._task.start(self._run())
        else:
            self._forget_but(())

    async def stop(self) -> None:
        """End."""
        await self._task.stop()

    async def _run(self) -> None:
        await asyncio.sleep(FIRST_SECONDS)
        while True:
            await self.round()
            await asyncio.sleep(self._config.interval)

    async def round(self) -> None:
        """Look at every query once; one that cannot be read waits for the next round."""
        queries = self._queries()
        self._forget_but([query.name for query in queries])
        for query in queries:
            try:
                await self._look_at(query)
            except (SidecarError, OSError) as error:
                self._log.warning(
                    "behaviour not looked at, next round will", query=query.name, err=str(error)
                )
            except Exception:
                # The loop's edge: one odd query must not end the looking at the others.
                self._log.exception("looking at behaviour broke off", query=query.name)

    def _forget_but(self, watched: Sequence[str]) -> None:
        """Drop what is known and told of queries that are no longer looked at."""
        for name in (self._looks.keys() | self._away.keys()) - set(watched):
            self._looks.pop(name, None)
            self._away.pop(name, None)
            self._metrics.forget(name)

    def summaries(self) -> list[dict[str, Any]]:
        """What the newest look at each query found; none before the first."""
        return [{"query": name, **summary(found)} for name, found in sorted(self._looks.items())]

    async def families(self, name: str) -> dict[str, Any]:
        """All that is known of a query's families: of the newest look, or of one now where that is too old.

        Raises: KeyError for a query that is not watched; PullError, ModelError.
        """
        query = {query.name: query for query in self._queries()}[name]
        async with self._looking:
            found = self._looks.get(name)
            oldest_ms = self._end_ms(query) - round(self._config.interval * 1000)
            if found is None or found.until_ms < oldest_ms:
                found = self._looks[name] = await self._look(query)
            return {"query": name, **details(found)}

    def _end_ms(self, query: QueryConfig) -> int:
        return self._clock.last_step_ms(self._config.step, query.offset)

    async def _look(self, query: QueryConfig) -> Look:
        step_ms = round(self._config.step * 1000)
        end_ms = self._end_ms(query)
        batch = await self._source.history(
            query.expr,
            start_ms=end_ms - 2 * DAY_MS + step_ms,
            end_ms=end_ms,
            step_ms=step_ms,
            name=query.name,
            max_series=query.max_series or self._max_series,
        )
        try:
            return await asyncio.wrap_future(self._worker.submit(look, batch))
        except BrokenExecutor as error:
            words = "the process that compares series was killed; was there too little memory?"
            raise ModelError(words) from error

    async def _look_at(self, query: QueryConfig) -> None:
        async with self._looking:
            found = self._looks[query.name] = await self._look(query)
        self._metrics.families.labels(query.name).set(found.families.n_families)
        self._metrics.stability.labels(query.name).set(found.families.stability)
        known = self._away.get(query.name, frozenset())
        self._away[query.name] = frozenset(found.labels[one.row] for one in found.leavers)
        news = [one for one in found.leavers if found.labels[one.row] not in known]
        self._metrics.left.labels(query.name).inc(len(news))
        for one in news:
            facts = {
                "query": query.name,
                "labels": dict(found.labels[one.row]),
                "family": one.family,
                "like": one.like,
                "distance": round(one.distance, 3),
                "usual_distance": round(one.usual_distance, 3),
            }
            self._log.info("a series left its family", **facts)
            self._bus.publish(Event("series.left_family", self._now(), facts))
