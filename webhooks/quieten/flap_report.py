"""Flapping as Prometheus' own history shows it, and the rule changes that follow, for the rules loop."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Protocol

import msgspec

from sidecar.background import Background
from sidecar.errors import PullError, StoreError
from sidecar.events import Event, EventBus
from sidecar.prometheus.selector import selector_of
from sidecar.series import LabelSet, SeriesBatch
from sidecar.telemetry import get_logger
from webhooks.notes import NoteStore
from webhooks.quieten.flapping import HISTORY_SECONDS, FlapWatch, Proposal
from webhooks.reconcile.history import from_series

NOTE = "proposed rule changes"
"""Under this name the store holds them: a list of `Proposal`."""

LEAST_STARTS = 4
HISTORY = (
    f"changes(ALERTS_FOR_STATE[1h]) >= {LEAST_STARTS - 1} "
    'and ignoring (alertstate) last_over_time(ALERTS{alertstate="firing"}[1h])'
)
"""The series' value is when the alert became pending, so each change is another start."""

FIRING = (("__name__", "=", "ALERTS"), ("alertstate", "=", "firing"))

MAX_SERIES = 5_000
MAX_RULES = 50
STEP_MS = 15_000
"""Of the history that shows how long an alert fires and pauses."""


class Source(Protocol):
    """What is asked of Prometheus."""

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        """The value of each series at one instant."""
        ...

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        """Values at the steps within a range of time."""
        ...

    async def external_labels(self) -> Mapping[str, str]:
        """Labels that it adds to what it sends elsewhere."""
        ...


class FlapReport:
    """Looks every few minutes."""

    def __init__(
        self,
        flaps: FlapWatch,
        *,
        source: Source,
        store: NoteStore,
        bus: EventBus,
        interval_seconds: float = 300.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._flaps = flaps
        self._source = source
        self._store = store
        self._bus = bus
        self._interval = interval_seconds
        self._now = now
        self._proposed: list[Proposal] | None = None
        self._task = Background("flap-report")
        self._log = get_logger("flap-report")

    def start(self) -> None:
        """Begin to look."""
        self._task.start(self._run())

    async def stop(self) -> None:
        """End."""
        await self._task.stop()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self.look()
            except StoreError as error:
                self._log.warning("proposed rule changes not stored, will try again", err=str(error))
            except Exception:
                # The loop's edge: an odd series must not end the looking.
                self._log.exception("looking at flapping broke off")

    async def look(self) -> list[Proposal]:
        """Take in the history, and hand over what is proposed where that has changed.

        Raises: StoreError.
        """
        await self._read_history()
        proposed = self._flaps.proposals()
        if proposed != self._proposed:
            await self._store.put_note(NOTE, msgspec.json.encode(proposed))
            known = self._proposed or []
            for one in proposed:
                if one not in known:
                    facts = msgspec.to_builtins(one)
                    self._bus.publish(Event("rule.change_proposed", self._now(), facts))
                    self._log.info("rule change proposed", **facts)
            self._proposed = proposed
        return proposed

    async def _read_history(self) -> None:
        now = self._now()
        try:
            external = await self._source.external_labels()
            batch = await self._source.instant(
                HISTORY, at_ms=int(now * 1000), name="flapping", max_series=MAX_SERIES
            )
            for row, labels in enumerate(batch.labels):
                delivered = LabelSet({**external, **labels.without("__name__")})
                n_starts = int(batch.values[row, -1]) + 1
                self._flaps.observe(delivered, delivered.fingerprint(), n_starts, now=now)
            await self._read_times({labels.get("alertname", "") for labels in batch.labels}, external, now)
        except PullError as error:
            self._log.debug("no history of alerts", err=str(error))

    async def _read_times(self, rules: Iterable[str], external: Mapping[str, str], now: float) -> None:
        """How long the alerts of these rules fired and paused within the last hour."""
        for rule in sorted(rules)[:MAX_RULES]:
            batch = await self._source.range(
                selector_of([*FIRING, ("alertname", "=", rule)]),
                start_ms=int((now - HISTORY_SECONDS) * 1000),
                end_ms=int(now * 1000),
                step_ms=STEP_MS,
                name="flapping",
                max_series=MAX_SERIES,
            )
            spans: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
            for one in from_series(batch, external=external):
                spans[one.fingerprint].append((one.starts_at_ns, one.ends_at_ns or one.last_seen_ns))
            for fingerprint, known in spans.items():
                lasted = [(end - start) / 1e9 for start, end in known]
                pauses = [(after[0] - before[1]) / 1e9 for before, after in pairwise(known)]
                self._flaps.take_times(fingerprint, lasted, pauses)
