"""From a parsed delivery to a durable one: many requests share one fold and one commit."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.errors import StoreError
from sidecar.ports import AlertStore
from sidecar.records import Delivery, Episode
from sidecar.telemetry import get_logger
from webhooks.intake.fold import Memory
from webhooks.own import without_echoes

BATCH_ALERTS = 2000
"""So many alerts are folded without a breath, a few milliseconds; more wait for the next commit."""


BUSY_SECONDS = 0.05
"""So long after a commit more is expected at once."""

MAX_WAITING_ALERTS = 100_000
"""Alerts that may wait in memory, a few seconds' work; one delivery larger than that may wait alone."""


class IntakeMetrics:
    """What the intake tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.alerts = Counter(
            "pronoia_webhook_alerts_total", "Alerts accepted, by status.", ["status"], registry=registry
        )
        self.stale = Counter(
            "pronoia_webhook_stale_alerts_total",
            "Alerts that told of an episode already over, late or again.",
            registry=registry,
        )
        self.dead = Counter(
            "pronoia_webhook_dead_letters_total", "Alerts that could not be used.", registry=registry
        )
        self.truncated = Counter(
            "pronoia_webhook_truncated_alerts_total",
            "Alerts that Alertmanager left out because of max_alerts.",
            registry=registry,
        )
        self.queue = Gauge(
            "pronoia_webhook_queue_deliveries", "Deliveries that wait to become durable.", registry=registry
        )
        self.open = Gauge("pronoia_episodes_open", "Alerts that fire now.", registry=registry)


class QueueFull(StoreError):
    """More deliveries wait than memory is given for; the sender shall try again."""

    reason = "queue_full"


class Intake:
    """Makes deliveries durable. Start it on the event loop that serves requests."""

    def __init__(
        self,
        store: AlertStore,
        *,
        memory: Memory,
        max_waiting: int,
        registry: CollectorRegistry,
        on_committed: Callable[[Sequence[Episode]], None] = lambda _: None,
        on_delivered: Callable[[Sequence[Delivery]], None] = lambda _: None,
    ) -> None:
        self.memory = memory
        self._store = store
        self._max_waiting = max_waiting
        self._on_committed = on_committed
        self._on_delivered = on_delivered
        self._metrics = IntakeMetrics(registry)
        self._waiting: deque[tuple[Delivery, asyncio.Future[None]]] = deque()
        self._metrics.queue.set_function(lambda: float(len(self._waiting)))
        self._waiting_alerts = 0
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._log = get_logger("intake")
        self._told_trouble = 0.0
        self._committed_at = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether deliveries wait to become durable, or have just done so."""
        return bool(self._waiting) or time.monotonic() - self._committed_at < BUSY_SECONDS

    def start(self) -> None:
        """Begin to commit."""
        self._task = asyncio.create_task(self._run(), name="intake")

    async def stop(self) -> None:
        """Refuse what comes, commit what waits, end."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task

    async def accept(self, delivery: Delivery) -> None:
        """Return once the delivery is durable.

        Raises: StoreError where it is not, and was not kept: the sender must send it again.
        """
        if self._closing:
            raise StoreError("shutting down")
        delivery = without_echoes(delivery)
        n_alerts = len(delivery.alerts)
        too_many = self._waiting_alerts and self._waiting_alerts + n_alerts > MAX_WAITING_ALERTS
        if too_many or len(self._waiting) >= self._max_waiting:
            raise QueueFull(f"{len(self._waiting)} deliveries of {self._waiting_alerts} alerts wait already")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, future))
        self._waiting_alerts += n_alerts
        self._wake.set()
        await future

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = self._next_batch()
                try:
                    await self._commit(batch)
                except Exception as error:
                    # The loop's edge: whatever one batch does, the next must be taken.
                    self._log.exception("a batch of deliveries broke off")
                    _fail(batch, StoreError(f"internal: {type(error).__name__}"))
            if self._closing:
                return

    def _next_batch(self) -> list[tuple[Delivery, asyncio.Future[None]]]:
        batch: list[tuple[Delivery, asyncio.Future[None]]] = []
        n_alerts = 0
        while self._waiting and (not batch or n_alerts < BATCH_ALERTS):
            item = self._waiting.popleft()
            n_alerts += len(item[0].alerts)
            batch.append(item)
        self._waiting_alerts -= n_alerts
        return batch

    async def _commit(self, batch: list[tuple[Delivery, asyncio.Future[None]]]) -> None:
        deliveries = [delivery for delivery, _ in batch]
        changes = self.memory.fold(deliveries)
        durable = changes.durable()
        try:
            await self._store.commit_deliveries(deliveries, durable)
        except StoreError as error:
            # Memory has not changed, so the sender's next try is folded as if it were the first.
            if time.monotonic() - self._told_trouble > 30:
                self._told_trouble = time.monotonic()
                self._log.error(
                    "alerts not stored, answering 503 so that they are sent again", err=str(error)
                )
            _fail(batch, error)
            return
        self.memory.apply(changes)
        self._committed_at = time.monotonic()
        for _, future in batch:
            if not future.done():
                future.set_result(None)
        metrics = self._metrics
        metrics.alerts.labels("firing").inc(changes.n_firing)
        metrics.alerts.labels("resolved").inc(changes.n_resolved)
        metrics.stale.inc(changes.n_stale)
        metrics.dead.inc(sum(len(delivery.dead_letters) for delivery in deliveries))
        metrics.truncated.inc(sum(delivery.truncated_alerts for delivery in deliveries))
        metrics.open.set(self.memory.n_open)
        current = [self.memory.episodes[key] for key in changes.written if key in self.memory.episodes]
        if current:
            self._on_committed([*changes.closed, *current])
        self._on_delivered(deliveries)


def _fail(batch: Sequence[tuple[Delivery, asyncio.Future[None]]], error: StoreError) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
