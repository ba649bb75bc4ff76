"""The desk: holds what people do about open incidents, makes it durable, and tells who listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import islice
from typing import Protocol
from weakref import WeakValueDictionary

from prometheus_client import CollectorRegistry, Counter

from sidecar.events import Event, EventBus
from sidecar.records import Episode, Feedback, Incident, Response, TimelineEntry
from webhooks.respond import lifecycle
from webhooks.respond.feedback import VERDICTS, verdicts_on
from webhooks.respond.ledger import Ledger, Written
from webhooks.respond.lifecycle import ActionError, act, status_of
from webhooks.respond.spare import SpareFile

RECENT_SECONDS = 30 * 86400.0
MAX_HELD = 10_000
"""So many responses are held in memory; those of open incidents always."""


class Responses(Written, Protocol):
    """What the desk asks of the store."""

    async def response(self, incident_id: str) -> Response | None:
        """What people did about one incident."""
        ...

    async def responses(self, *, open_only: bool = False, since_ns: int = 0) -> list[Response]:
        """Those of open incidents, or changed since then."""
        ...

    async def put_feedback(self, given: Sequence[Feedback]) -> None:
        """Keep verdicts; the same one counts once."""
        ...


Find = Callable[[str], Awaitable[tuple[Incident, list[Episode]] | None]]


class DeskMetrics:
    """What people do, counted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.actions = Counter(
            "pronoia_incident_actions_total",
            "What people did about incidents.",
            ["action"],
            registry=registry,
        )
        self.feedback = Counter(
            "pronoia_feedback_total", "Verdicts of people on incidents.", ["verdict"], registry=registry
        )
        for action in lifecycle.ACTIONS:
            self.actions.labels(action)
        for verdict in VERDICTS:
            self.feedback.labels(verdict)


class Desk:
    """One for a process. `observe` is told of every incident that changes, `do` of what people do."""

    def __init__(
        self,
        store: Responses,
        *,
        find: Find,
        bus: EventBus,
        metrics: DeskMetrics,
        spare: SpareFile | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._find = find
        self._bus = bus
        self._metrics = metrics
        self._now = now
        self._open: dict[str, Incident] = {}
        self._was_open: set[str] = set()
        """Incidents that were open before a restart, and not heard of since."""
        self._responses: dict[str, Response] = {}
        self._ledger = Ledger(store, is_newest=self._is_newest, written=self._forget_over, spare=spare)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By incident: of what two people do to it at once, each must see what the other did."""
        self._changed: list[Callable[[Incident, str], None]] = []
        self.n_changes = 0
        """Rises whenever what is open may have changed."""

    def on_action(self, listener: Callable[[Incident, str], None]) -> None:
        """Have a listener told of each action that is durable: the incident, and what was done."""
        self._changed.append(listener)

    async def open(self, incidents: Iterable[Incident]) -> None:
        """Remember what was done before a restart, begin.

        Raises: StoreError.
        """
        await self._ledger.open()
        since_ns = int((self._now() - RECENT_SECONDS) * 1e9)
        # Also of what is over: it may open anew, and what people wrote must not be written over.
        for response in reversed((await self._store.responses(since_ns=since_ns))[:MAX_HELD]):
            self._responses[response.incident_id] = response
        for response in await self._store.responses(open_only=True):
            self._responses[response.incident_id] = response
            self._was_open.add(response.incident_id)
        self._open = {one.incident_id: one for one in incidents if one.state == "open"}
        self._ledger.start()

    async def stop(self) -> None:
        """Write what waits, end."""
        await self._ledger.stop()

    @property
    def open_incidents(self) -> list[Incident]:
        """Those that are open now."""
        return list(self._open.values())

    def open_incident(self, incident_id: str) -> Incident | None:
        """The one of that id, while it is open."""
        return self._open.get(incident_id)

    def response(self, incident_id: str) -> Response | None:
        """What people did about an open incident."""
        return self._responses.get(incident_id)

    def status(self, incident: Incident) -> str:
        """open, acknowledged, mitigated, reopened, resolved or merged."""
        return status_of(incident, self._responses.get(incident.incident_id))

    def observe(self, incidents: Iterable[Incident]) -> None:
        """Take incidents as they now are, and note on their timelines what has changed."""
        now_ns = int(self._now() * 1e9)
        self.n_changes += 1
        for incident in incidents:
            before = self._open.get(incident.incident_id)
            was_open = incident.incident_id in self._was_open
            self._was_open.discard(incident.incident_id)
            response = self._responses.get(incident.incident_id)
            if incident.state == "open":
                self._open[incident.incident_id] = incident
                if before is None and was_open:
                    pass  # It was open before a restart, and is heard of only now.
                elif before is None and response is not None:
                    self._keep(lifecycle.reopen(response, now_ns), "reopened", "alerts fire again")
                elif before is None:
                    fresh = Response(incident.incident_id, incident.tenant, now_ns)
                    self._keep(fresh, "opened", incident.title)
                elif before.priority != incident.priority:
                    why = "; ".join(incident.priority_reasons)
                    words = f"{before.priority} becomes {incident.priority}" + (f": {why}" if why else "")
                    self.note(incident.incident_id, "priority", words)
            elif before is not None or was_open:
                self._open.pop(incident.incident_id, None)
                where = f"into {incident.merged_into}" if incident.state == "merged" else "all alerts ended"
                self.note(incident.incident_id, incident.state, where)
                if incident.merged_into is not None:
                    self.note(incident.merged_into, "merge", f"{incident.incident_id} went into it")

    def note(self, incident_id: str, kind: str, text: str, *, actor: str = "pronoia") -> None:
        """Put something on a timeline; durable within a second or so."""
        self._ledger.add(TimelineEntry(incident_id, int(self._now() * 1e9), kind, actor, text))

    def change(self, response: Response, kind: str, text: str) -> None:
        """Keep a response that pronoia itself has changed."""
        self._keep(response, kind, text)

    async def do(self, incident_id: str, action: str, *, actor: str, text: str = "") -> Response:
        """Take an action of a person; durable when it returns.

        Raises: ActionError, StoreError; KeyError where there is no such incident.
        """
        async with self._turns.setdefault(incident_id, asyncio.Lock()):
            incident, changed, entry = await self._act(incident_id, action, actor, text)
        self._metrics.actions.labels(action).inc()
        if action in ("noise", "useful"):
            await self.say(incident_id, action, actor=actor)
        facts = {"incident_id": incident_id, "action": action, "actor": entry.actor, "text": entry.text}
        self._bus.publish(Event("incident.action", self._now(), facts))
        for listener in self._changed:
            listener(incident, action)
        return changed

    async def _act(
        self, incident_id: str, action: str, actor: str, text: str
    ) -> tuple[Incident, Response, TimelineEntry]:
        """Change the response, durably; the incident, its response and the timeline's entry."""
        stored, _ = await self._found(incident_id)
        incident = self._open.get(incident_id, stored)
        response = await self._known(incident)
        changed, entry = act(
            response, incident, action, actor=actor, text=text, now_ns=int(self._now() * 1e9)
        )
        await self._ledger.put(changed, entry)
        if incident_id in self._responses or incident_id in self._open:
            self._responses[incident_id] = changed
            # Once more: what we changed ourselves meanwhile may be written last, and what people do stands.
            self._ledger.keep(changed)
        return incident, changed, entry

    async def say(self, incident_id: str, verdict: str, *, actor: str, of: str = "") -> int:
        """Keep a verdict on an incident; the number of rules or pairs that it speaks of.

        `of`: the incident that it is a duplicate of, where that is known.

        Raises: ActionError for an unknown verdict, StoreError; KeyError where there is no such incident.
        """
        if verdict not in VERDICTS:
            raise ActionError(f"no verdict {verdict!r}; known: {', '.join(VERDICTS)}")
        if of and verdict != "duplicate":
            raise ActionError("only a duplicate is of another incident")
        incident, episodes = await self._found(incident_id)
        others = (await self._found(of))[1] if of and of != incident_id else []
        return await self.keep_verdict(incident, episodes, verdict, actor=actor, others=others)

    async def keep_verdict(
        self,
        incident: Incident,
        episodes: Sequence[Episode],
        verdict: str,
        *,
        actor: str,
        others: Sequence[Episode] = (),
    ) -> int:
        """Keep what somebody said, or has shown by what they did; the number of rows. Raises: StoreError."""
        now_ns = int(self._now() * 1e9)
        rows = verdicts_on(incident, episodes, verdict, actor=actor, now_ns=now_ns, others=others)
        await self._store.put_feedback(rows)
        self._metrics.feedback.labels(verdict).inc()
        homes = {one.incident_id for one in others} - {incident.incident_id, None}
        of = f" of {', '.join(sorted(map(str, homes)))}" if homes else ""
        self.note(incident.incident_id, "feedback", f"{verdict}{of}", actor=actor)
        return len(rows)

    async def _found(self, incident_id: str) -> tuple[Incident, list[Episode]]:
        found = await self._find(incident_id)
        if found is None:
            raise KeyError(incident_id)
        return found

    async def _known(self, incident: Incident) -> Response:
        held = self._responses.get(incident.incident_id)
        stored = held or await self._store.response(incident.incident_id)
        return stored or Response(incident.incident_id, incident.tenant, int(self._now() * 1e9))

    def _keep(self, response: Response, kind: str, text: str) -> None:
        self._responses[response.incident_id] = response
        self._ledger.keep(response)
        self.note(response.incident_id, kind, text)

    def _is_newest(self, response: Response) -> bool:
        return self._responses.get(response.incident_id) is response

    def _forget_over(self) -> None:
        """Let go of what was done about incidents that are over, the oldest first; the store has it."""
        n_over = len(self._responses) - MAX_HELD
        if n_over > 0:
            over = (one for one in self._responses if one not in self._open and not self._ledger.holds(one))
            for incident_id in list(islice(over, n_over)):
                del self._responses[incident_id]
