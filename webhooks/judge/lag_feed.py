"""Asks Prometheus for the series behind an incident's alerts, and tells which of them moved first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from prometheus_client import CollectorRegistry, Counter

from sidecar.errors import PullError
from sidecar.rounds import Rounds
from sidecar.series import FloatArray, SeriesBatch
from sidecar.telemetry import get_logger
from webhooks.correlate.group import Group
from webhooks.judge.analyst import Analyst
from webhooks.judge.evidence import Precedence
from webhooks.judge.lagged import Lead, leads, sampled_every
from webhooks.measured import Subject, worst

STEP_SECONDS = 15
WINDOW_SECONDS = 3600.0
SETTLED_SECONDS = 150.0
"""So long after its last alert began there is something to see of all of them, and no sooner."""

OLD_SECONDS = 1800.0
"""Alerts that began longer ago are near the edge of what is looked at."""

MAX_ENTITIES = 12
MAX_PER_LOOK = 3
MAX_SERIES = 300
MAX_ASKED = 10_000


class Source(Protocol):
    """What is asked of Prometheus."""

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        """Values at the multiples of a step, shape (N, T). Raises: PullError."""
        ...


class LagMetrics:
    """What is told of it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.tests = Counter(
            "pronoia_incident_lag_tests_total",
            "Incidents whose metrics were asked who moved first, by outcome: found, none, no_series.",
            ["result"],
            registry=registry,
        )
        for result in ("found", "none", "no_series"):
            self.tests.labels(result)


class LagFeed:
    """Looks at incidents of several entities once they have settled, and again when they have grown."""

    def __init__(
        self,
        analyst: Callable[[], Analyst],
        *,
        source: Source,
        reconsider: Callable[[str], None],
        metrics: LagMetrics,
        look_seconds: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._analyst = analyst
        self._source = source
        self._reconsider = reconsider
        self._metrics = metrics
        self._now = now
        self._asked: dict[str, frozenset[str]] = {}
        self._rounds = Rounds(
            "lags", self._look, pause=lambda: look_seconds, undone="who moved first not asked"
        )
        self._log = get_logger("lags")

    def start(self) -> None:
        """Begin to look."""
        self._rounds.start()

    async def stop(self) -> None:
        """End."""
        await self._rounds.stop()

    async def _look(self) -> None:
        try:
            await self.look()
        except PullError as error:
            # Whoever pulls for scores tells of an outage.
            self._log.debug("no metrics behind alerts for now", err=str(error))

    async def look(self) -> None:
        """Ask for what is due, the newest incidents first.

        Raises: PullError where trying later may help; what is due stays so.
        """
        groups = reversed(self._analyst().correlator.groups.values())
        for group in [one for one in groups if self._is_due(one)][:MAX_PER_LOOK]:
            self._metrics.tests.labels(await self._ask(group)).inc()
            self._asked[group.incident_id] = frozenset(group.parties)
            if len(self._asked) > MAX_ASKED:
                del self._asked[next(iter(self._asked))]

    def _is_due(self, group: Group) -> bool:
        now = self._now()
        return (
            bool(group.firing)
            and 2 <= len(group.parties) <= MAX_ENTITIES
            and not group.apart
            and now - group.last >= SETTLED_SECONDS
            and now - group.first <= OLD_SECONDS
            and self._asked.get(group.incident_id) != group.parties.keys()
        )

    async def _ask(self, group: Group) -> str:
        """Take the leads of one incident; the outcome in a word."""
        end_ms = int(self._now() * 1000)
        rows = {
            entity: row
            for entity in group.parties
            if (row := await self._row(group, entity, end_ms)) is not None
        }
        if len(rows) < 2:
            return "no_series"
        step, found = await asyncio.to_thread(_leads, np.vstack(list(rows.values())))
        names = list(rows)
        for lead in found:
            self._analyst().evidence.add_precedence(
                names[lead.leader],
                Precedence(end_ms / 1000.0, names[lead.follower], lead.lag_steps * step, lead.chance),
            )
        if found:
            self._reconsider(group.incident_id)
        return "found" if found else "none"

    async def _row(self, group: Group, entity: str, end_ms: int) -> FloatArray | None:
        """The series behind an entity's first alert that has one."""
        subjects = (Subject.of(seen.episode) for seen in group.parties[entity].sightings)
        subject = next((found for found in subjects if found is not None), None)
        if subject is None:
            return None
        try:
            batch = await self._source.range(
                subject.expr,
                start_ms=end_ms - int(WINDOW_SECONDS * 1000),
                end_ms=end_ms,
                step_ms=STEP_SECONDS * 1000,
                name="lags",
                max_series=MAX_SERIES,
            )
        except PullError as error:
            if error.retryable:
                raise
            return None  # It can never be asked for; the others may tell enough.
        row = worst(batch, subject)
        return None if row is None else batch.values[row]


def _leads(values: FloatArray) -> tuple[float, list[Lead]]:
    """Who moves first, at the pace at which the slowest is sampled; that step in seconds."""
    every = sampled_every(values)
    return float(every * STEP_SECONDS), leads(values[:, ::-1][:, ::every][:, ::-1])
