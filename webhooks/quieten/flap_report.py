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
from webhooks.quieten.flapping import HISTORY_SECONDS, FlapWatch, Heard, Proposal
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
NEWS_FACTOR = 1.5
"""A proposal whose seconds differ by less from those told of is no news: they move with each flap."""
TOLD_SECONDS = 86400.0
"""So long after it was last proposed, a change is known to have been told of."""
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
        self._stored: list[Proposal] | None = None
        """None until it is known what was proposed before a restart."""
        self._told: dict[tuple[str, str, str], tuple[float, float]] = {}
        """By tenant, rule and field: the seconds that were told of, and when they were last proposed."""
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
        """Take in the history, hand over what is proposed now, and tell of what is new of it.

        Raises: StoreError.
        """
        await self._read_history()
        now = self._now()
        if self._stored is None:
            self._stored = msgspec.json.decode(await self._store.note(NOTE) or b"[]", type=list[Proposal])
            self._news(self._stored, now)
        proposed = self._flaps.proposals()
        if proposed != self._stored:
            await self._store.put_note(NOTE, msgspec.json.encode(proposed))
            self._stored = proposed
        for one in self._news(proposed, now):
            facts = msgspec.to_builtins(one)
            self._bus.publish(Event("rule.change_proposed", now, facts))
            self._log.info("rule change proposed", **facts)
        return proposed

    def _news(self, proposed: Iterable[Proposal], now: float) -> list[Proposal]:
        """Those that were not told of lately, which they are from now on."""
        # Either way: the clock may have been set back since.
        self._told = {key: told for key, told in self._told.items() if abs(now - told[1]) < TOLD_SECONDS}
        news = []
        for one in proposed:
            key = one.tenant, one.alertname, one.field
            seconds, _ = self._told.get(key, (0.0, 0.0))
            if not seconds / NEWS_FACTOR <= one.seconds <= seconds * NEWS_FACTOR:
                news.append(one)
                seconds = one.seconds
            self._told[key] = seconds, now
        return news

    async def _read_history(self) -> None:
        now = self._now()
        try:
            external = await self._source.external_labels()
            batch = await self._source.instant(
                HISTORY, at_ms=int(now * 1000), name="flapping", max_series=MAX_SERIES
            )
            heard = self._flaps.heard()
            for row, labels in enumerate(batch.labels):
                delivered = LabelSet({**external, **labels.without("__name__")})
                fingerprint, n_starts = delivered.fingerprint(), int(batch.values[row, -1]) + 1
                for tenant in heard.tenants(fingerprint, delivered.get("alertname", "")):
                    self._flaps.observe(tenant, delivered, fingerprint, n_starts, now=now)
            rules = {labels.get("alertname", "") for labels in batch.labels}
            await self._read_times(rules, external, heard, now)
        except PullError as error:
            self._log.debug("no history of alerts", err=str(error))

    async def _read_times(
        self, rules: Iterable[str], external: Mapping[str, str], heard: Heard, now: float
    ) -> None:
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
                for tenant in heard.tenants(fingerprint, rule):
                    self._flaps.take_times(tenant, fingerprint, lasted, pauses)
