"""From stored incidents to messages in the outbox: who is told what, decided once and durably.

A message is in the outbox before anything is sent, under a key of target,
incident and number; so a restart neither forgets one nor makes it again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from sidecar.background import Background, woken
from sidecar.config.channels import NotifyConfig, NotifyTarget
from sidecar.errors import StoreError
from sidecar.records import Incident, OutboxMessage
from sidecar.telemetry import get_logger
from webhooks.notify import message
from webhooks.notify.audience import Audience, Everybody
from webhooks.notify.channel import Channel
from webhooks.notify.channels.registry import channel_of
from webhooks.notify.outbox import NotifyMetrics, OutboxStore
from webhooks.notify.policy import ENDED, Told, decide
from webhooks.notify.sender import Sender
from webhooks.notify.template import Templates

TICK_SECONDS, LEAST_SECONDS = 5.0, 0.05
CLOCK_BACK_SECONDS = 30.0
MAX_TOLD = 50_000
REMEMBER_SECONDS = 7 * 86400.0


class Notifier:
    """Tells the configured targets of incidents."""

    def __init__(
        self,
        store: OutboxStore,
        config: NotifyConfig,
        *,
        hold_seconds: float,
        metrics: NotifyMetrics,
        audience: Audience | None = None,
        make_channel: Callable[[NotifyTarget], Channel] = channel_of,
        picture: Callable[[str], bytes | None] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._config = config
        self._hold_ns = int(hold_seconds * 1e9)
        self._now = now
        self._targets = {target.name: target for target in config.targets}
        self.audience: Audience = audience or Everybody(self._targets)
        """Asked for each incident; may be replaced while it runs."""
        self._templates = Templates(config.targets)
        self._sender = Sender(
            store,
            self._targets,
            give_up_after_seconds=config.give_up_after,
            metrics=metrics,
            make_channel=make_channel,
            stand_in=self._for_the_fallback,
            picture=picture,
            now=now,
        )
        self._told: dict[str, dict[str, Told]] = {}
        self._first_told: dict[str, float] = {}
        self._first_seen_ns: dict[str, int] = {}
        self._waiting: dict[str, Incident] = {}
        self._changed: dict[str, None] = {}
        self._looked_at_all = -math.inf
        self._by_clock = -math.inf
        self._wake = asyncio.Event()
        self._task = Background("notifier")
        self._log = get_logger("notifier")

    async def open(self, incidents: Iterable[Incident]) -> None:
        """Remember what was told before a restart, then begin.

        Raises: StoreError.
        """
        if not self._targets:
            return
        since_ns = int((self._now() - REMEMBER_SECONDS) * 1e9)
        sent = await self._store.messages_of_recent_incidents(since_ns)
        self.consider(incidents)  # First: what was told of these is not forgotten for the want of room.
        for one in sent:
            self._note(one)
        # A clock that was ahead, before a restart, must not stop the escalations until its time has come.
        now = self._now()
        self._first_told = {key: min(at, now) for key, at in self._first_told.items()}
        await self._sender.open(sent)
        self._task.start(self._run())

    async def stop(self) -> None:
        """Write what is decided, end; what is not sent waits in the outbox."""
        if not self._task.started:
            return
        await self._task.stop()
        self._looked_at_all = -math.inf
        try:
            await self._decide()
        except StoreError as error:
            self._log.warning("messages not stored, they will be decided again", err=str(error))
        await self._sender.stop()

    async def send_report(self, target: str, name: str, *, title: str, text: str) -> None:
        """Put a report on its way; the same name to the same target again is the same message, sent once.

        Raises: StoreError.
        """
        if target in self._told.get(name, {}):
            return
        now_ns = int(self._now() * 1e9)
        key = f"{target}/{name}/1"
        one = OutboxMessage(
            key=key,
            target=target,
            incident_id=name,
            number=1,
            kind="report",
            priority="P3",
            n_episodes=0,
            created_at_ns=now_ns,
            due_at_ns=now_ns,
            document=message.report(name, title, text, key=key),
        )
        await self._store.put_messages([one])
        self._note(one)
        self._sender.wake([target])

    def consider(self, incidents: Iterable[Incident]) -> None:
        """Take incidents as they now are; what is told of them is decided soon."""
        if not self._targets:
            return
        for incident in incidents:
            self._first_seen_ns.setdefault(incident.incident_id, int(self._now() * 1e9))
            self._waiting[incident.incident_id] = incident
            self._changed[incident.incident_id] = None
            since = self._first_told.get(incident.incident_id)
            if incident.merged_into is not None and since is not None:
                # Where people are told of that one only now, the escalation goes on from here.
                self._first_told.setdefault(incident.merged_into, since)
        self._wake.set()

    def has_told(self, incident_id: str) -> bool:
        """Whether anybody was told of an incident, and not of its end."""
        return any(told.kind not in ENDED for told in self._told.get(incident_id, {}).values())

    def not_told_over(self) -> set[str]:
        """Incidents, of the last days or open, of which somebody was told, and not of their end."""
        return {incident_id for incident_id in self._told if self.has_told(incident_id)}

    async def _run(self) -> None:
        while True:
            try:
                await self._decide()
            except StoreError as error:
                self._log.warning("messages not stored, will try again", err=str(error))
            except Exception:
                # The loop's edge: one odd incident must not silence the others.
                self._log.exception("notifying broke off")
            await woken(self._wake, self._patience())

    def _patience(self) -> float:
        """Seconds until an incident settles, or until it is worth looking again at all."""
        now_ns = self._now() * 1e9
        due = (
            self._first_seen_ns.get(incident_id, 0) + self._hold_ns
            for incident_id in self._waiting
            if incident_id not in self._told
        )
        left = [(at_ns - now_ns) / 1e9 for at_ns in due if at_ns > now_ns]
        return min([TICK_SECONDS, *(max(seconds, LEAST_SECONDS) for seconds in left)])

    def _due(self) -> list[Incident]:
        """What has changed; and now and then everything, of which something may be due by now.

        Thousands may be open in a bad hour, and a few of them change every moment.
        """
        changed, self._changed = self._changed, {}
        if changed and time.monotonic() - self._looked_at_all < TICK_SECONDS:
            return [self._waiting[one] for one in changed if one in self._waiting]
        self._looked_at_all = time.monotonic()
        return list(self._waiting.values())

    def _heed_clock(self) -> None:
        """Where the clock was set back, those told first are told longest: escalations go by that."""
        now = self._now()
        back, self._by_clock = self._by_clock - now, now
        if back > CLOCK_BACK_SECONDS:
            self._first_told = {key: at - back for key, at in self._first_told.items()}

    async def _decide(self) -> None:
        self._heed_clock()
        incidents = self._due()
        odd: set[str] = set()
        wanted = [(incident, told) for incident in incidents if (told := self._wanted_of(incident, odd))]
        if wanted:
            await self._prepare([incident for incident, _ in wanted])
            made = [one for incident, told in wanted for one in self._messages_of(incident, told, odd)]
            try:
                await self._store.put_messages(made)
            except BaseException:
                self._changed.update((incident.incident_id, None) for incident in incidents)
                raise
            for one in made:
                self._note(one)
            self._sender.wake({one.target for one in made})
        for incident in incidents:
            known = incident.incident_id
            # Taken again where it changes; what is open is looked at again, for settling and updates.
            if incident.state != "open" and self._waiting.get(known) is incident and known not in odd:
                del self._waiting[known]
                self._first_seen_ns.pop(known, None)
                if known not in self._told:
                    self._first_told.pop(known, None)

    async def _prepare(self, incidents: Sequence[Incident]) -> None:
        try:
            await self.audience.prepare(incidents)
        except Exception:
            # The loop's edge: a message without what could be found out is worth more than none.
            self._log.exception("finding out about incidents broke off")

    def _wanted_of(self, incident: Incident, odd: set[str]) -> list[tuple[NotifyTarget, str, str]]:
        """As `_wanted`; nothing of one that breaks it off, which is put among the `odd`."""
        try:
            return self._wanted(incident)
        except Exception:
            # The loop's edge: one odd incident must not silence the others.
            self._log.exception("an incident could not be decided upon", incident=incident.incident_id)
            odd.add(incident.incident_id)
            return []

    def _messages_of(
        self, incident: Incident, wanted: Iterable[tuple[NotifyTarget, str, str]], odd: set[str]
    ) -> list[OutboxMessage]:
        """The messages that are wanted; none of an incident that breaks that off."""
        try:
            return [self._message(target, incident, kind, status) for target, kind, status in wanted]
        except Exception:
            # The loop's edge, as above.
            self._log.exception("an incident could not be put into words", incident=incident.incident_id)
            odd.add(incident.incident_id)
            return []

    def _wanted(self, incident: Incident) -> list[tuple[NotifyTarget, str, str]]:
        """Who is to be told of an incident now: the target, the kind of message, the incident's status."""
        now = self._now()
        # Where the clock was set back since, it is held no longer for that.
        seen_ns = min(self._first_seen_ns.get(incident.incident_id, 0), int(now * 1e9))
        self._first_seen_ns[incident.incident_id] = seen_ns
        settled_ns = seen_ns + self._hold_ns
        told = self._told.get(incident.incident_id, {})
        names = dict.fromkeys(told)
        if not self.audience.held_back(incident, now=now):
            since = self._first_told.get(incident.incident_id)
            names |= dict.fromkeys(self.audience.listeners(incident, now=now, since=since))
        status = self.audience.status(incident)
        wanted = []
        for name in names:
            target = self._targets.get(name)
            if target is None:
                continue
            kind = decide(
                incident,
                told.get(name),
                min_priority=target.min_priority,
                settled_at_ns=settled_ns,
                update_interval_ns=int(self._config.update_interval * 1e9),
                now_ns=int(now * 1e9),
                status=status,
            )
            if kind is not None:
                wanted.append((target, kind, status))
        return wanted

    def _message(self, target: NotifyTarget, incident: Incident, kind: str, status: str) -> OutboxMessage:
        before = self._told.get(incident.incident_id, {}).get(target.name)
        number = (before.n_messages if before else 0) + 1
        now_ns = int(self._now() * 1e9)
        key = f"{target.name}/{incident.incident_id}/{number}"
        facts = {**self.audience.facts(incident, target=target.name)}
        into = self._waiting.get(incident.merged_into or "")
        if into is not None:
            facts["into"] = f"[{into.priority}] {into.title}"
            facts["into_status"] = self.audience.status(into)
        document = message.document(kind, incident, key=key, status=status, facts=facts)
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
            document=self._templates.apply(target.name, document),
        )

    def _for_the_fallback(self, failed: OutboxMessage, name: str) -> OutboxMessage | None:
        """The same message to another target; None where that one knows of the incident by itself."""
        self._note(failed)
        if name in self._told.get(failed.incident_id, {}) or failed.kind in ("resolved", "merged"):
            return None
        now_ns = int(self._now() * 1e9)
        key = f"{name}/{failed.incident_id}/1"
        one = OutboxMessage(
            key=key,
            target=name,
            incident_id=failed.incident_id,
            number=1,
            kind=failed.kind,
            priority=failed.priority,
            n_episodes=failed.n_episodes,
            created_at_ns=now_ns,
            due_at_ns=now_ns,
            document={**failed.document, "idempotency_key": key, "instead_of": failed.target},
        )
        self._note(one)
        return one

    def _note(self, one: OutboxMessage) -> None:
        told = self._told.setdefault(one.incident_id, {})
        self._first_told.setdefault(one.incident_id, one.created_at_ns / 1e9)
        before = told.get(one.target)
        if before is None or before.n_messages <= one.number:
            told[one.target] = Told.by(one)
        if len(self._told) > MAX_TOLD:
            self._forget_over()

    def _forget_over(self) -> None:
        """Let go of what was told of incidents that are over; one that is open would be told of anew."""
        over = (one for one in self._told if one not in self._waiting)
        for incident_id in list(islice(over, MAX_TOLD // 100 + 1)):
            del self._told[incident_id]
            self._first_told.pop(incident_id, None)
