"""From a parsed delivery to a durable one: many requests share one commit.

While one batch is being stored the next is folded, as if the first were durable
already; where the first fails, the next is folded anew.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace
from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.errors import StoreError
from sidecar.ports import AlertStore
from sidecar.records import Delivery, Episode
from sidecar.telemetry import get_logger
from webhooks.intake.fold import Changes, Memory
from webhooks.own import without_echoes

BATCH_ALERTS = 2000
"""So many alerts become durable together; more wait for the next commit.

A delivery of more is taken in parts, each with a commit of its own, so that no other request waits long.
"""

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


@dataclass
class Batch:
    """Deliveries that become durable by one commit, those who wait for it, and what it changes."""

    changes: Changes = field(default_factory=Changes)
    deliveries: list[Delivery] = field(default_factory=list)
    futures: list[asyncio.Future[None]] = field(default_factory=list)
    n_alerts: int = 0

    def add(self, delivery: Delivery, future: asyncio.Future[None]) -> None:
        """Take a delivery that is folded into `changes` already."""
        self.deliveries.append(delivery)
        self.futures.append(future)
        self.n_alerts += len(delivery.alerts)

    def settle(self, error: StoreError | None = None) -> None:
        """Tell those who wait that it is durable, or why it is not."""
        for future in self.futures:
            if future.done():
                continue
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)


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
        self.trouble: str | None = None
        """Why deliveries could not be stored; until one is, or the store is seen to take something else."""
        self._store = store
        self._max_waiting = max_waiting
        self._on_committed = on_committed
        self._on_delivered = on_delivered
        self._metrics = IntakeMetrics(registry)
        self._next = Batch()
        self._waiting: deque[tuple[Delivery, asyncio.Future[None]]] = deque()
        """What there was no room for in the next batch."""
        self._queued_alerts = 0
        self._n_storing = 0
        self._metrics.queue.set_function(lambda: float(self._n_waiting))
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._log = get_logger("intake")
        self._told_trouble = 0.0
        self._committed_at = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether deliveries wait to become durable, or have just done so."""
        return bool(self._n_waiting) or time.monotonic() - self._committed_at < BUSY_SECONDS

    @property
    def _n_waiting(self) -> int:
        return len(self._next.deliveries) + len(self._waiting)

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
        """Return once all of the delivery is durable.

        Raises: StoreError where it is not: the sender must send it again; what was stored is a repeat.
        """
        if self._closing:
            raise StoreError("shutting down")
        delivery = without_echoes(delivery)
        n_alerts, n_ahead = len(delivery.alerts), self._next.n_alerts + self._queued_alerts
        too_many = n_ahead and n_ahead + n_alerts > MAX_WAITING_ALERTS
        if too_many or self._n_waiting >= self._max_waiting:
            raise QueueFull(f"{self._n_waiting} deliveries of {n_ahead} alerts wait already")
        loop = asyncio.get_running_loop()
        parts = [(part, loop.create_future()) for part in _parts(delivery)]
        self._waiting.extend(parts)
        self._queued_alerts += n_alerts
        self._gather()
        self._wake.set()
        await asyncio.gather(*(future for _, future in parts))

    def _gather(self) -> None:
        """Fold what waits into the next batch, as far as there is room."""
        while self._waiting and self._has_room():
            delivery, future = self._waiting.popleft()
            self._queued_alerts -= len(delivery.alerts)
            try:
                self.memory.fold([delivery], into=self._next.changes)
            except Exception as error:
                # One delivery is at fault, whatever it is; the others must not fail with it.
                self._log.exception("a delivery broke off")
                if not future.done():  # Its sender may have hung up.
                    future.set_exception(_internal(error))
                self._fold_anew(over=self._next.changes.over)
            else:
                self._next.add(delivery, future)

    def _has_room(self) -> bool:
        """Whether the next batch has neither too many alerts nor more than half of all that is at hand.

        Senders that wait for their answers come back together: were they all of one batch, they
        would be read while nothing is stored, and stored while nothing is read.
        """
        half = (self._n_storing + self._n_waiting + 1) // 2
        return self._next.n_alerts < BATCH_ALERTS and len(self._next.deliveries) < half

    def _fold_anew(self, *, over: Changes | None) -> None:
        """Let the next batch be made on top of something else."""
        batch = self._next
        try:
            batch.changes = self.memory.fold(batch.deliveries, into=Changes(over))
        except Exception as error:
            # The loop's edge: whatever one batch does, the next must be taken.
            self._log.exception("a batch of deliveries broke off")
            batch.settle(_internal(error))
            self._next = Batch(Changes(over))

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = self._take_next()
            if batch is not None:
                # Until the next commit is on its way nothing else is done: called soon is called after it.
                loop.call_soon(self._gather)
                if await self._store_batch(batch):
                    loop.call_soon(self._tell, batch)
            elif self._closing:
                return
            else:
                await self._wake.wait()
                self._wake.clear()

    def _take_next(self) -> Batch | None:
        """The batch that was gathered, on top of which the next will be; None where there is nothing."""
        self._gather()
        batch = self._next
        if not batch.deliveries:
            return None
        self._next, self._n_storing = Batch(Changes(over=batch.changes)), len(batch.deliveries)
        return batch

    async def _store_batch(self, batch: Batch) -> bool:
        """Make a batch durable and let memory have it; False where that failed, and those who wait know."""
        error: StoreError | None = None
        try:
            await self._store.commit_deliveries(batch.deliveries, batch.changes.durable())
        except StoreError as trouble:
            error = trouble
            if time.monotonic() - self._told_trouble > 30:
                self._told_trouble = time.monotonic()
                self._log.error(
                    "alerts not stored, answering 503 so that they are sent again", err=str(error)
                )
        except Exception as trouble:
            # The loop's edge: nobody may wait for ever for what broke off.
            self._log.exception("a batch of deliveries broke off")
            error = _internal(trouble)
        self._n_storing = 0
        self.trouble = None if error is None else str(error)
        if error is not None:
            batch.settle(error)
            # Memory has not changed, so the sender's next try is folded as if it were the first.
            self._fold_anew(over=None)
            return False
        self.memory.apply(batch.changes)
        self._next.changes.over = None
        self._committed_at = time.monotonic()
        return True

    def _tell(self, batch: Batch) -> None:
        """Answer for a batch that is durable, count it, and hand it to those who work with it."""
        batch.settle()
        metrics, changes = self._metrics, batch.changes
        metrics.alerts.labels("firing").inc(changes.n_firing)
        metrics.alerts.labels("resolved").inc(changes.n_resolved)
        metrics.stale.inc(changes.n_stale)
        metrics.dead.inc(sum(len(delivery.dead_letters) for delivery in batch.deliveries))
        metrics.truncated.inc(sum(delivery.truncated_alerts for delivery in batch.deliveries))
        metrics.open.set(self.memory.n_open)
        current = [self.memory.episodes[key] for key in changes.written if key in self.memory.episodes]
        try:
            if current:
                self._on_committed([*changes.closed, *current])
            self._on_delivered(batch.deliveries)
        except Exception:
            # The loop's edge: intake must go on whatever a strange alert does behind it.
            self._log.exception("what follows a commit broke off")


def _parts(delivery: Delivery) -> list[Delivery]:
    """The delivery, a part for each commit; what is said of all of it is in the first."""
    alerts = delivery.alerts
    if len(alerts) <= BATCH_ALERTS:
        return [delivery]
    rests = (alerts[at : at + BATCH_ALERTS] for at in range(BATCH_ALERTS, len(alerts), BATCH_ALERTS))
    first = replace(delivery, alerts=alerts[:BATCH_ALERTS])
    return [first, *(replace(delivery, alerts=rest, dead_letters=[], truncated_alerts=0) for rest in rests)]


def _internal(error: Exception) -> StoreError:
    return StoreError(f"internal: {type(error).__name__}")
