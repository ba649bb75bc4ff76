"""Looks now and then how each query's series spent the last day, and who no longer does as its family."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.background import Background
from sidecar.config.behaviour import BehaviourConfig
from sidecar.config.model import QueryConfig
from sidecar.errors import SidecarError
from sidecar.events import Event, EventBus
from sidecar.loop.clock import SourceClock
from sidecar.ports import HistorySource
from sidecar.series import SeriesBatch
from sidecar.telemetry import get_logger

if TYPE_CHECKING:  # The engine is imported by a worker: numba costs half a second.
    from sidecar.engine.behaviour import BehaviourFamilies, Leaver

DAY_MS = 86_400_000
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

    families: BehaviourFamilies
    leavers: list[Leaver]


def look(batch: SeriesBatch) -> Look:
    """Families of the first day of two, and who left them on the second; a pure function, for any process."""
    from sidecar.engine.behaviour import days, find_families, leavers

    end_ms = int(batch.timestamps[-1]) if batch.n_steps else 0
    first = batch.timestamps <= end_ms - DAY_MS
    earlier = days(batch.timestamps[first], batch.values[:, first])
    now = days(batch.timestamps[~first], batch.values[:, ~first])
    found = find_families(earlier)
    return Look(found, leavers(found, earlier, now))


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

    def start(self) -> None:
        """Begin, where it is enabled."""
        if self._config.enabled:
            self._task.start(self._run())

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
        for name in self._away.keys() - {query.name for query in queries}:
            del self._away[name]
            self._metrics.forget(name)
        for query in queries:
            try:
                await self._look_at(query)
            except (SidecarError, OSError) as error:
                self._log.warning(
                    "behaviour not looked at, next round will", query=query.name, err=str(error)
                )

    async def _look_at(self, query: QueryConfig) -> None:
        step_ms = round(self._config.step * 1000)
        end_ms = self._clock.last_step_ms(self._config.step, query.offset)
        batch = await self._source.history(
            query.expr,
            start_ms=end_ms - 2 * DAY_MS + step_ms,
            end_ms=end_ms,
            step_ms=step_ms,
            name=query.name,
            max_series=query.max_series or self._max_series,
        )
        found = await asyncio.wrap_future(self._worker.submit(look, batch))
        self._metrics.families.labels(query.name).set(found.families.n_families)
        self._metrics.stability.labels(query.name).set(found.families.stability)
        known = self._away.get(query.name, frozenset())
        self._away[query.name] = frozenset(batch.labels[one.row] for one in found.leavers)
        news = [one for one in found.leavers if batch.labels[one.row] not in known]
        self._metrics.left.labels(query.name).inc(len(news))
        for one in news:
            facts = {
                "query": query.name,
                "labels": dict(batch.labels[one.row]),
                "family": one.family,
                "like": one.like,
                "distance": round(one.distance, 3),
                "usual_distance": round(one.usual_distance, 3),
            }
            self._log.info("a series left its family", **facts)
            self._bus.publish(Event("series.left_family", self._now(), facts))
