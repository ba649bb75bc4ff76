"""From the outbox to the targets: in order for each incident, limited, retried, with a stand-in for the dead.

Each target has a task of its own, so that a slow one holds up nobody else. A
message is marked when its fate is known; one whose fate a crash or a timeout
left open is handed to the channel as uncertain, which looks before it sends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from sidecar.background import woken
from sidecar.config.channels import NotifyTarget
from sidecar.errors import NotifyError, StoreError
from sidecar.records import OutboxMessage
from sidecar.telemetry import get_logger
from webhooks.notify.channel import Channel, Outgoing
from webhooks.notify.limiter import Limiter
from webhooks.notify.outbox import NotifyMetrics, OutboxStore
from webhooks.notify.policy import ENDED, TAKEN

FIRST_RETRY_SECONDS = 5.0
LAST_RETRY_SECONDS = 600.0
TICK_SECONDS = 5.0
LOOK = 20
"""Messages that are tried before one looks again, for what has become more urgent meanwhile."""
AT_ONCE = 4
"""Incidents whose messages are on their way to one target at the same time."""
MAX_THREADS = 50_000
CLOCK_BACK_SECONDS = 30.0
"""What is less delays a message by less than that."""
MAX_WAITING = 10_000

StandIn = Callable[[OutboxMessage, str], OutboxMessage | None]


class Sender:
    """Empties the outbox."""

    def __init__(
        self,
        store: OutboxStore,
        targets: Mapping[str, NotifyTarget],
        *,
        give_up_after_seconds: float,
        metrics: NotifyMetrics,
        make_channel: Callable[[NotifyTarget], Channel],
        stand_in: StandIn,
        picture: Callable[[str], bytes | None] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._targets = targets
        self._give_up = give_up_after_seconds
        self._metrics = metrics
        self._stand_in = stand_in
        self._picture = picture
        self._now = now
        self._channels = {name: make_channel(target) for name, target in targets.items()}
        self._limits = {name: Limiter(target.limit_per_minute, now=now) for name, target in targets.items()}
        self._wakes = {name: asyncio.Event() for name in targets}
        self._slots = {name: asyncio.Semaphore(AT_ONCE) for name in targets}
        self._threads: dict[tuple[str, str], dict[str, str]] = {}
        self._looked_at: dict[str, float] = {}
        self._fates: dict[str, dict[str, OutboxMessage]] = {name: {} for name in targets}
        """By target, what became of tries and is not stored yet."""
        self._unreached: set[str] = set()
        """Targets of which it was told that they do not take messages."""
        self._opened_at_ns = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._log = get_logger("sender")

    async def open(self, sent: Iterable[OutboxMessage]) -> None:
        """Remember the threads of earlier messages, give up what has no target any more, begin.

        Raises: StoreError.
        """
        self._opened_at_ns = int(self._now() * 1e9)
        for message in sent:
            self._remember(message)
        orphans = [
            message
            for message in await self._store.messages_due(2**62, limit=10_000)
            if message.target not in self._targets
        ]
        for message in orphans:
            message.state, message.error = "dead", "no longer configured"
        if orphans:
            await self._store.put_messages(orphans)
        self._tasks = [asyncio.create_task(self._run(name), name=f"sender-{name}") for name in self._targets]

    async def stop(self) -> None:
        """End; what is not sent waits in the outbox."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for name in self._targets:
            try:
                await self._keep_fates(name)
            except StoreError as error:
                self._log.warning("sent, and not stored as sent", target=name, err=str(error))
        for channel in self._channels.values():
            await channel.close()

    def wake(self, targets: Iterable[str]) -> None:
        """There is something for these."""
        for name in targets:
            if name in self._wakes:
                self._wakes[name].set()

    async def _run(self, name: str) -> None:
        while True:
            pause = TICK_SECONDS
            try:
                pause = await self._send_due(name)
            except StoreError as error:
                self._log.warning("outbox not reached, will try again", target=name, err=str(error))
            except Exception:
                # The loop's edge: one odd message must not silence the target.
                self._log.exception("sending broke off", target=name)
            await woken(self._wakes[name], pause)

    async def _send_due(self, name: str) -> float:
        """Send what is due; seconds until it is worth looking again."""
        await self._keep_fates(name)
        await self._heed_clock(name)
        due = await self._store.messages_due(int(self._now() * 1e9), limit=LOOK, target=name)
        self._metrics.pending.labels(name).set(len(due))
        by_incident: dict[str, list[OutboxMessage]] = {}
        for message in due:
            by_incident.setdefault(message.incident_id, []).append(message)
        # The urgent first: where permits are short, the others wait.
        incidents = sorted(
            by_incident.values(), key=lambda messages: (messages[-1].priority, messages[0].key)
        )
        waits = await self._send_all(name, incidents)
        longest = max(waits, default=0.0)
        if longest == 0.0 and len(due) == LOOK:
            return 0.0
        return min(longest or TICK_SECONDS, TICK_SECONDS)

    async def _send_all(self, name: str, incidents: Sequence[list[OutboxMessage]]) -> list[float]:
        """The messages of each incident; seconds to wait, of each.

        Raises: what befell the first of them, when all are through: what is still under way
        would be looked up, and sent, a second time.
        """
        waits: list[float] = []
        sending = (self._send_in_order(name, messages) for messages in incidents)
        for outcome in await asyncio.gather(*sending, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome
            waits.append(outcome)
        return waits

    async def _heed_clock(self, name: str) -> None:
        """Where the clock was set back, bring forward what waits by times that it told before."""
        now = self._now()
        back = self._looked_at.get(name, now) - now
        if back > CLOCK_BACK_SECONDS:
            waiting = await self._store.messages_due(2**62, limit=MAX_WAITING, target=name)
            # What was tried waits for a time after that try, and not for one that people have set.
            ahead = [one for one in waiting if one.created_at_ns > now * 1e9 or one.attempts]
            for message in ahead:
                message.created_at_ns -= int(back * 1e9)
                message.due_at_ns -= int(back * 1e9)
            if ahead:
                await self._store.put_messages(ahead)
                self._log.warning(
                    "the clock was set back, waiting messages are brought forward",
                    target=name,
                    n_messages=len(ahead),
                    back_seconds=round(back),
                )
        self._looked_at[name] = now

    async def _send_in_order(self, name: str, messages: list[OutboxMessage]) -> float:
        """One incident's messages; 0 when done, else the seconds until there is a permit again."""
        async with self._slots[name]:
            for message in await self._without_stale(messages):
                wait = self._limits[name].wait_seconds()
                if wait > 0.0:
                    if not self._waits_too_long(name, message):
                        return wait
                    # The pause that it asked for is longer than this one may wait for it.
                    paused = NotifyError("asked for a pause", retryable=True)
                    await self._settle(name, [message, *self._failed(name, message, paused)])
                    continue
                if not await self._send(name, message):
                    return 0.0
        return 0.0

    async def _without_stale(self, messages: list[OutboxMessage]) -> list[OutboxMessage]:
        """The messages less the updates that a later one makes old news."""
        stale = [one for at, one in enumerate(messages[:-1]) if _is_old_news(one, messages[at + 1 :])]
        if self._never_mattered(messages):
            stale = messages
        if not stale:
            return messages
        for message in stale:
            message.state = "superseded"
            self._metrics.sent.labels(message.target, "superseded").inc()
        await self._store.put_messages(stale)
        return [message for message in messages if message.state == "pending"]

    def _never_mattered(self, messages: Sequence[OutboxMessage]) -> bool:
        """Whether nothing of an incident was ever tried that has gone into another, which is told of itself.

        Its beginning would call people for what the next message takes back.
        """
        first = messages[0]
        untried = first.attempts == 0 and first.created_at_ns >= self._opened_at_ns
        return first.kind == "opened" and untried and messages[-1].kind == "merged"

    async def _send(self, name: str, message: OutboxMessage) -> bool:
        """Try once, and store what came of it; whether the next one of the incident may follow."""
        repeated = message.in_doubt
        outgoing = Outgoing(
            message.document,
            thread=self._threads.get((name, message.incident_id), {}),
            uncertain=message.attempts > 0 or message.created_at_ns < self._opened_at_ns,
            made_at=message.created_at_ns / 1e9,
            picture=self._picture(message.incident_id) if message.number == 1 else None,
            # What an earlier try has left in doubt, no later one resolves.
            doubt=lambda in_doubt: self._keep_doubt(message, in_doubt or repeated),
        )
        message.attempts += 1
        changed = [message]
        try:
            message.receipt = await self._handed_over(name, outgoing)
        except NotifyError as error:
            self._metrics.up.labels(name).set(0)
            changed += self._failed(name, message, error)
        else:
            message.state, message.error = "sent", ""
            self._metrics.up.labels(name).set(1)
            self._metrics.sent.labels(name, "sent").inc()
            if name in self._unreached:
                self._unreached.discard(name)
                self._log.info("target takes messages again", target=name)
            if repeated:
                self._metrics.sent.labels(name, "repeated").inc()
                self._log.warning("message may have arrived twice", target=name, key=message.key)
            self._metrics.duration.labels(name).observe(max(self._now() - message.created_at_ns / 1e9, 0.0))
            self._remember(message)
        await self._settle(name, changed)
        return message.state != "pending"

    async def _settle(self, name: str, changed: Sequence[OutboxMessage]) -> None:
        """Store what became of a message, and of its stand-in where it has one. Raises: StoreError."""
        self._fates[name].update({one.key: one for one in changed})
        await self._keep_fates(name)
        self.wake(other.target for other in changed[1:])

    def _waits_too_long(self, name: str, message: OutboxMessage) -> bool:
        """Whether a message has waited for its fallback's time while its target wants a pause."""
        target = self._targets[name]
        age = self._now() - message.created_at_ns / 1e9
        return target.fallback is not None and self._limits[name].is_paused and age >= target.fallback_after

    async def _handed_over(self, name: str, outgoing: Outgoing) -> dict[str, str]:
        """The channel's receipt. Raises: NotifyError, whatever broke off."""
        try:
            return await self._channels[name].send(outgoing)
        except (NotifyError, StoreError):
            raise
        except Exception as error:
            # The loop's edge: an answer that nobody foresaw is a failed try like others, with their patience.
            self._log.exception("a channel broke off", target=name)
            raise NotifyError(f"internal: {error!r}", retryable=True) from error

    async def _keep_fates(self, name: str) -> None:
        """Store what became of tries; until that is done nothing is sent, so that nothing is sent again.

        Raises: StoreError.
        """
        fates = dict(self._fates[name])
        if fates:
            await self._store.put_messages(list(fates.values()))
            for key, fate in fates.items():
                if self._fates[name].get(key) is fate:
                    del self._fates[name][key]

    async def _keep_doubt(self, message: OutboxMessage, in_doubt: bool) -> None:
        """Keep what a channel says of a try, before it goes on."""
        if message.in_doubt != in_doubt:
            message.in_doubt = in_doubt
            await self._store.put_messages([message])

    def _failed(self, name: str, message: OutboxMessage, error: NotifyError) -> list[OutboxMessage]:
        """Mark a failed try; the message to a stand-in, where it is time for one."""
        message.error = str(error)[:300]
        age = self._now() - message.created_at_ns / 1e9
        target = self._targets[name]
        if target.fallback is not None and (not error.retryable or age >= target.fallback_after):
            message.state, message.fallback = "dead", target.fallback
            self._metrics.sent.labels(name, "fallback").inc()
            self._log.error(
                "target not reached, its fallback is told",
                target=name,
                fallback=target.fallback,
                err=message.error,
            )
            other = self._stand_in(message, target.fallback)
            return [other] if other is not None else []
        # One first try is due to what waited through a long sleep of ours, or a leap of the clock.
        if not error.retryable or (age > self._give_up and message.attempts > 1):
            message.state = "dead"
            self._metrics.sent.labels(name, "dead").inc()
            self._log.error("message given up", target=name, incident=message.incident_id, err=message.error)
            return []
        wait = min(FIRST_RETRY_SECONDS * 2.0 ** (message.attempts - 1), LAST_RETRY_SECONDS)
        if error.retry_after_seconds is not None:
            wait = max(error.retry_after_seconds, 1.0)
            self._limits[name].pause(wait)
        if target.fallback is not None:
            # Not later than the fallback's time, which would pass unseen.
            wait = min(wait, max(target.fallback_after - age, 1.0))
        message.due_at_ns = int((self._now() + wait) * 1e9)
        self._metrics.sent.labels(name, "failed").inc()
        if name not in self._unreached:
            # Once: in a bad hour hundreds wait for the same target.
            self._unreached.add(name)
            self._log.warning("message not delivered, will try again", target=name, err=message.error)
        return []

    def _remember(self, message: OutboxMessage) -> None:
        if message.receipt:
            # The newest: where a thread was gone, it has been begun anew.
            self._threads.pop((message.target, message.incident_id), None)
            self._threads[message.target, message.incident_id] = message.receipt
            while len(self._threads) > MAX_THREADS:
                del self._threads[next(iter(self._threads))]


def _is_old_news(message: OutboxMessage, later: Sequence[OutboxMessage]) -> bool:
    """Whether those behind it make a message superfluous: they tell how things stand by now.

    Not that somebody took it on, while that still holds: it keeps a pager from calling the next one.
    """
    if message.kind in ENDED or message.kind == "opened":
        return False
    if message.kind not in TAKEN:
        return True
    return any(one.kind in ENDED | TAKEN or one.document.get("status") not in TAKEN for one in later)
