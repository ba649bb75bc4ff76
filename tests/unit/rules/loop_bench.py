"""The rules loop of two queries on a folder and a server that loads it, and a store that may be killed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from rules.live import LiveWatch
from rules.loop import RulesLoop
from rules.metrics import RuleMetrics
from sidecar.config.model import QueryConfig, RulesConfig
from sidecar.errors import StoreError
from sidecar.events import EventBus
from sidecar.records import RuleRevision
from sidecar.series import LabelSet, LearnedBand, SeriesBatch
from sidecar.store.sqlite import SqliteStore
from tests.unit.rules.bands import LoadingServer, band, hours

DAY = 86_400.0
QUERIES = {name: QueryConfig(name=name, expr=name, step=60, rule_for=0) for name in ("errors", "waits")}


class Loud:
    """A source on which whatever is asked for began to fire twenty times."""

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        raise AssertionError("not asked here")

    def __init__(self, unless: str = "nothing") -> None:
        self.unless = unless

    async def range(self, expr: str, *, start_ms: int, end_ms: int, **_: Any) -> SeriesBatch:
        if start_ms >= end_ms or self.unless in expr:
            return SeriesBatch("ALERTS", (), np.zeros(0, dtype=np.int64), np.zeros((0, 0)))
        values = np.tile([np.nan, 1.0], 20)[None, :]
        return SeriesBatch("ALERTS", (LabelSet(),), start_ms + np.arange(40) * 15_000, values)


class Dying(SqliteStore):
    """A store whose process is killed before it notes that something is live or taken back."""

    dies = False

    async def put_revision(self, *revisions: RuleRevision) -> None:
        if self.dies and any(revision.state == "live" for revision in revisions):
            raise StoreError("killed")
        await super().put_revision(*revisions)


class Bench:
    """The loop of two queries, its folder and its server."""

    def __init__(self, folder: Path, store: Dying, **settings: Any) -> None:
        self.folder, self.store, self.now, self.level = folder, store, 1_700_000_000.0, 10.0
        self.server = LoadingServer(folder)
        self.queries = dict(QUERIES)
        self.asked: list[list[str]] = []
        self.unlearnt: set[str] = set()
        self.bus, self.registry = EventBus(), CollectorRegistry()
        # Without promtool the parser checks, which is quicker.
        config = RulesConfig(directory=folder, min_history=3600, margin=1.0, promtool="none", **settings)
        self.loop = RulesLoop(
            config,
            queries=lambda: list(self.queries.values()),
            bands=self.bands,
            server=self.server,
            store=store,
            bus=self.bus,
            metrics=RuleMetrics(self.registry),
            now=lambda: self.now,
        )

    async def bands(self, names: Collection[str]) -> list[LearnedBand]:
        self.asked.append(sorted(names))
        centre = hours("flat")[None, :] - 10 + self.level
        return [
            LearnedBand(name, name, *_parts(band(centre, 1.0, [{"service": "cdn"}])))
            for name in self.queries
            if name in names and name not in self.unlearnt
        ]

    def not_loaded(self) -> float | None:
        return self.registry.get_sample_value("pronoia_rules_not_loaded_groups")

    def file(self, name: str) -> Path:
        return self.folder / f"pronoia-{name}.rules.yaml"

    async def run(self) -> dict[str, str]:
        self.now += 60
        return {outcome.query: outcome.result for outcome in await self.loop.run_once()}

    async def watch(self, source: Loud | None = None) -> None:
        """A look at rules of which a back-test expects one alert in ten days."""
        for revision in await self.store.revisions():
            names = (f"{name.capitalize()}AboveExpected" for name in QUERIES if name in revision.group)
            revision.evidence["firings_per_day"] = dict.fromkeys(names, 0.1)
            await self.store.put_revision(revision)
        reviser = self.loop.reviser
        await LiveWatch(
            reviser, self.server, source=source or Loud(), max_firing_ratio=3, now=lambda: self.now
        ).look()

    async def states(self, name: str) -> list[str]:
        found = await self.store.revisions(group=f"pronoia-{name}")
        return [revision.state for revision in reversed(found)]


def _parts(made: LearnedBand) -> tuple[Any, ...]:
    return made.labels, made.centre, made.lower, made.upper, made.n_samples
