"""Keeps what is known of services' worth up to date, and has incidents judged anew when that matters."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np

from sidecar.config.hours import Hours
from sidecar.errors import PullError
from sidecar.records import Incident
from sidecar.rounds import Rounds
from sidecar.series import SeriesBatch, ThresholdEta
from sidecar.telemetry import get_logger
from webhooks.judge.analyst import Analyst
from webhooks.respond.hours import within

MAX_SERIES = 1000
LIKELY = 0.5
"""A threshold that is crossed less probably is not near."""


class Source(Protocol):
    """What is asked of Prometheus."""

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        """The value of each series at one instant. Raises: PullError."""
        ...


class ImpactFeed:
    """Looks each minute: how many users, which thresholds come near, whether it is a peak hour."""

    def __init__(
        self,
        analyst: Callable[[], Analyst],
        *,
        source: Source,
        etas: Callable[[], Sequence[ThresholdEta]],
        peak_hours: Iterable[Hours],
        known: Callable[[], Mapping[str, Incident]],
        reconsider: Callable[[str], None],
        look_seconds: float = 60.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._analyst = analyst
        self._source = source
        self._etas = etas
        self._peak_hours = tuple(peak_hours)
        self._known = known
        self._reconsider = reconsider
        self._now = now
        self._rounds = Rounds(
            "impact", self.look, pause=lambda: look_seconds, undone="what services are worth not read"
        )
        self._log = get_logger("impact")

    def start(self) -> None:
        """Begin to look."""
        self._rounds.start()

    async def stop(self) -> None:
        """End."""
        await self._rounds.stop()

    async def look(self) -> None:
        """Read everything once; incidents whose priority that changes are judged anew."""
        analyst, now = self._analyst(), self._now()
        analyst.impact.is_peak = any(within(hours, now) for hours in self._peak_hours)
        analyst.impact.etas = self._near(analyst)
        for service, expr in analyst.impact.queries.items():
            await self._read_users(analyst, service, expr, now)
        for incident_id, group in list(analyst.correlator.groups.items()):
            known = self._known().get(incident_id)
            if known is None or not group.firing or not analyst.impact.concerns(group.parties):
                continue
            await asyncio.sleep(0)  # There may be thousands, and requests wait meanwhile.
            found = analyst.consider_anyhow(group, now=now, usual={}).urgency.priority
            if found not in (known.priority, "P4"):
                self._reconsider(incident_id)

    def _near(self, analyst: Analyst) -> dict[str, dict[str, float]]:
        near: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for eta in self._etas():
            if eta.probability >= LIKELY:
                rules = near[analyst.reader.read(eta.labels, {}).entity]
                rules[eta.rule] = min(eta.seconds, rules.get(eta.rule, eta.seconds))
        return dict(near)

    async def _read_users(self, analyst: Analyst, service: str, expr: str, now: float) -> None:
        try:
            batch = await self._source.instant(
                expr, at_ms=int(now * 1000), name="users", max_series=MAX_SERIES
            )
        except PullError as error:
            # What it had a minute ago is nearer the truth than nothing.
            self._log.debug("users not read", service=service, err=str(error))
            return
        analyst.impact.users[service] = float(np.nansum(batch.values[:, -1:]))
