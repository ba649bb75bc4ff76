"""From stored incidents to delivered messages: decides, writes the outbox, sends, retries, gives up.

A message is in the outbox before anything is sent, under a key of target,
incident and number; so a restart neither forgets one nor makes it again. What
was sent and not yet marked when the process died is sent once more, with the
same idempotency key.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge

from sidecar.config.model import NotifyConfig, NotifyTarget
from sidecar.errors import NotifyError, StoreError
from sidecar.records import Incident, OutboxMessage
from sidecar.telemetry import get_logger
from webhooks.notify import message
from webhooks.notify.policy import Told, decide
from webhooks.notify.ways import Way, way_of

FIRST_RETRY_SECONDS = 5.0
LAST_RETRY_SECONDS = 600.0
TICK_SECONDS = 5.0
MAX_TOLD = 50_000
AT_ONCE = 20
"""Messages that are under way at the same time."""


class OutboxStore(Protocol):
    """The outbox in the store."""

    async def put_messages(self, messages: Sequence[OutboxMessage]) -> None:
        """Insert or replace by key, durably."""
        ...

    async def messages_due(self, now_ns: int, *, limit: int) -> list[OutboxMessage]:
        """Pending messages whose time has come, oldest first."""
        ...

    async def messages_of_recent_incidents(self, since_ns: int) -> list[OutboxMessage]:
        """Messages made since then or of incidents that are open, in the order in which they were made."""
        ...


class NotifyMetrics:
    """What notifying tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter(
            "pronoia_notifications_total",
            "Messages, by outcome of a try: sent, failed (will be tried again), dead (given up).",
            ["target", "result"],
            registry=registry,
        )
        self.pending = Gauge(
            "pronoia_notifications_pending",
            "Messages whose time had come at the last look.",
            registry=registry,
        )


class Notifier:
    """Tells the configured targets of incidents."""

    def __init__(
        self,
        store: OutboxStore,
        config: NotifyConfig,
        *,
        hold_seconds: float,
        metrics: NotifyMetrics,
        make_way: Callable[[str], Way] = way_of,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._config = config
        self._hold_ns = int(hold_seconds * 1e9)
        self._metrics = metrics
        self._now = now
        self._targets = {target.name: target for target in config.targets}
        self._ways = {target.name: make_way(target.url.get_secret_value()) for target in config.targets}
        self._told: dict[tuple[str, str], Told] = {}
        self._first_seen_ns: dict[str, int] = {}
        self._waiting: dict[str, Incident] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._log = get_logger("notifier")

    async def open(self, incidents: Iterable[Incident]) -> None:
        """Remember what was told before a restart, then begin.

        Raises: StoreError.
        """
        if not self._targets:
            return
        since_ns = int((self._now() - 7 * 86400.0) * 1e9)
        for sent in await self._store.messages_of_recent_incidents(since_ns):
            self._told[sent.target, sent.incident_id] = Told(
                sent.kind, sent.created_at_ns, sent.priority, sent.n_episodes, sent.number
            )
        self.consider(incidents)
        self._task = asyncio.create_task(self._run(), name="notifier")

    async def stop(self) -> None:
        """Write what is decided, end; what is not sent waits in the outbox."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            try:
                await self._decide()
            except StoreError as error:
                self._log.warning("messages not stored, they will be decided again", err=str(error))
        for way in self._ways.values():
            await way.close()

    def consider(self, incidents: Iterable[Incident]) -> None:
        """Take incidents as they now are; what is told of them is decided soon."""
        if not self._targets:
            return
        for incident in incidents:
            self._first_seen_ns.setdefault(incident.incident_id, int(self._now() * 1e9))
            self._waiting[incident.incident_id] = incident
        self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                await self._decide()
                await self._send_due()
            except StoreError as error:
                self._log.warning("outbox not reached, will try again", err=str(error))
            except Exception:
                # The loop's edge: one odd incident must not silence the others.
                self._log.exception("notifying broke off")
            try:
                async with asyncio.timeout(TICK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _decide(self) -> None:
        now_ns = int(self._now() * 1e9)
        made: list[OutboxMessage] = []
        told: dict[tuple[str, str], Told] = {}
        done: list[str] = []
        for incident in list(self._waiting.values()):
            settled_ns = self._first_seen_ns.get(incident.incident_id, 0) + self._hold_ns
            for target in self._targets.values():
                at = (target.name, incident.incident_id)
                before = self._told.get(at)
                kind = decide(
                    incident,
                    before,
                    min_priority=target.min_priority,
                    settled_at_ns=settled_ns,
                    update_interval_ns=int(self._config.update_interval * 1e9),
                    now_ns=now_ns,
                )
                if kind is not None:
                    number = (before.n_messages if before else 0) + 1
                    made.append(self._message(target, incident, kind, number, now_ns))
                    told[at] = Told(kind, now_ns, incident.priority, incident.n_episodes, number)
            if incident.state != "open":
                done.append(incident.incident_id)
        if made:
            await self._store.put_messages(made)
            self._told.update(told)
            while len(self._told) > MAX_TOLD:
                del self._told[next(iter(self._told))]
        for incident_id in done:
            # Taken again where it changes; what is open is looked at again, for settling and updates.
            self._waiting.pop(incident_id, None)
            self._first_seen_ns.pop(incident_id, None)

    def _message(
        self, target: NotifyTarget, incident: Incident, kind: str, number: int, now_ns: int
    ) -> OutboxMessage:
        key = f"{target.name}/{incident.incident_id}/{number}"
        return OutboxMessage(
            key=key,
            target=target.name,
            incident_id=incident.incident_id,
            number=number,
            kind=kind,
            priority=incident.priority,
            n_episodes=incident.n_episodes,
            created_at_ns=now_ns,
            due_at_ns=now_ns,
            document=message.document(kind, incident, key=key),
        )

    async def _send_due(self) -> None:
        now_ns = int(self._now() * 1e9)
        due = await self._store.messages_due(now_ns, limit=AT_ONCE)
        self._metrics.pending.set(len(due))
        # In order within a target, so that an end is never told before its beginning; targets side by side.
        by_target: dict[str, list[OutboxMessage]] = {}
        for one in due:
            by_target.setdefault(one.target, []).append(one)
        await asyncio.gather(*(self._send_to(target, messages) for target, messages in by_target.items()))
        if len(due) == AT_ONCE:
            self._wake.set()

    async def _send_to(self, target: str, messages: list[OutboxMessage]) -> None:
        stuck: set[str] = set()
        for one in messages:
            if one.incident_id not in stuck and not await self._send(target, one):
                stuck.add(one.incident_id)

    async def _send(self, target: str, one: OutboxMessage) -> bool:
        way = self._ways.get(target)
        one.attempts += 1
        try:
            if way is None:
                raise NotifyError(f"{target}: no longer configured", retryable=False)
            await way.send(one.document)
        except NotifyError as error:
            one.error = str(error)[:300]
            age = self._now() - one.created_at_ns / 1e9
            if not error.retryable or age > self._config.give_up_after:
                one.state = "dead"
                self._log.error("message given up", target=target, incident=one.incident_id, err=one.error)
            else:
                wait = min(FIRST_RETRY_SECONDS * 2.0 ** (one.attempts - 1), LAST_RETRY_SECONDS)
                one.due_at_ns = int((self._now() + wait) * 1e9)
                if one.attempts == 1:
                    self._log.warning("message not delivered, will try again", target=target, err=one.error)
            self._metrics.sent.labels(target, "dead" if one.state == "dead" else "failed").inc()
        else:
            one.state, one.error = "sent", ""
            self._metrics.sent.labels(target, "sent").inc()
        await self._store.put_messages([one])
        return one.state != "pending"
