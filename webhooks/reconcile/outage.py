"""What came and went while pronoia was down: Alertmanager never tells of it, Prometheus' history does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from sidecar.background import Background
from sidecar.config.webhook import WebhookConfig
from sidecar.errors import PullError, StoreError
from sidecar.series import SeriesBatch
from sidecar.telemetry import get_logger
from webhooks.notes import NoteStore
from webhooks.past import PastStore, store_past
from webhooks.reconcile.history import FIRING, AlertRuns
from webhooks.reconcile.loop import ReconcileMetrics

NOTE = "listening until"
BREATH_SECONDS = 60.0
"""So often is it noted that we listen; a shorter silence is no outage."""

LONGEST_SECONDS = 7 * 86_400.0
FINE_SECONDS = 6 * 3600.0
"""Up to so long an outage is read at a fine grain, on which short alerts are seen."""
FINE_STEP_MS, STEP_MS = 15_000, 60_000
STEPS_AT_ONCE = 360
"""Of so many alerts a week is gigabytes; this much of it is not."""
MAX_SERIES = 100_000


class Source(Protocol):
    """What is asked of Prometheus."""

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        """Values at the steps within a range of time."""
        ...

    async def external_labels(self) -> Mapping[str, str]:
        """Labels that it adds to what it sends elsewhere."""
        ...


class OutageStore(PastStore, NoteStore, Protocol):
    """Alerts and notes."""


class OutageReport:
    """Notes that we listen; where the note is old at the start, reads what was missed, and stores it."""

    def __init__(
        self,
        source: Source,
        store: OutageStore,
        config: WebhookConfig,
        *,
        metrics: ReconcileMetrics,
        now: Callable[[], float],
    ) -> None:
        self._source = source
        self._store = store
        self._config = config
        self._metrics = metrics
        self._now = now
        self._task = Background("outage")
        self._log = get_logger("outage")

    def start(self) -> None:
        """Begin."""
        self._task.start(self._run(self._now()))

    async def stop(self) -> None:
        """End."""
        await self._task.stop()

    async def _run(self, up_since: float) -> None:
        known = False
        while True:
            try:
                if not known:
                    await self.look_back(until=up_since)
                    known = True
                await self._store.put_note(NOTE, msgspec.json.encode(self._now()))
            except PullError as error:
                self._log.debug("what was missed is not known yet", err=str(error))
            except StoreError as error:
                self._log.warning("what was missed is not stored, will try again", err=str(error))
            except Exception:
                # The loop's edge: an odd series must not end the noting.
                known = True
                self._log.exception("looking back broke off")
            await asyncio.sleep(BREATH_SECONDS)

    async def look_back(self, *, until: float) -> int:
        """Store what began and ended between the last note and `until`; how many alerts.

        Raises: PullError, StoreError.
        """
        note = await self._store.note(NOTE)
        if note is None:
            return 0
        since = max(msgspec.json.decode(note, type=float), until - LONGEST_SECONDS)
        if until - since < 2 * BREATH_SECONDS:
            return 0
        runs = AlertRuns(external=await self._source.external_labels())
        start_ms, end_ms = int(since * 1000), int(until * 1000)
        step_ms = FINE_STEP_MS if until - since <= FINE_SECONDS else STEP_MS
        while start_ms <= end_ms:
            last_ms = min(start_ms + (STEPS_AT_ONCE - 1) * step_ms, end_ms)
            batch = await self._source.range(
                FIRING,
                start_ms=start_ms,
                end_ms=last_ms,
                step_ms=step_ms,
                name="alerts",
                max_series=MAX_SERIES,
            )
            await asyncio.to_thread(runs.take, batch)
            start_ms = last_ms + 1
        episodes = await asyncio.to_thread(runs.episodes)
        n_new, n_incidents = await store_past(self._store, self._config, episodes)
        self._metrics.changes.labels("past").inc(n_new)
        if n_new:
            self._log.info("alerts of an outage stored", n_alerts=n_new, n_incidents=n_incidents)
        return n_new
