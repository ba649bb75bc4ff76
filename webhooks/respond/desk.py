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
from webhooks.respond.joining import Part, joined, parted, stays
from webhooks.respond.ledger import Ledger, Written
from webhooks.respond.lifecycle import OF_ITS_ALERTS, ActionError, act, status_of
from webhooks.respond.spare import SpareFile
from webhooks.respond.unnoted import not_noted_over

RECENT_SECONDS = 30 * 86400.0
MAX_JOINING = 1000
AGAIN = "alerts fire again"
SAID = frozenset({"noise", "useful"})
"""Actions that are verdicts, too."""
REPEATED_SECONDS = 10.0
"""The same within so short a time was meant once."""
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

    async def timeline(self, incident_id: str) -> list[TimelineEntry]:
        """What happened in one incident, in order."""
        ...

    async def put_feedback(self, given: Sequence[Feedback]) -> None:
        """Keep verdicts; the same one counts once."""
        ...


Deed = tuple[str, str, str]
"""The action, who took it, and the text that went with it."""

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
    """One for a process. `observe` is told of every incident that changes, `do` of what people do.

    `told`: whether anybody was told of an incident, and not of its end.
    """

    def __init__(
        self,
        store: Responses,
        *,
        find: Find,
        bus: EventBus,
        metrics: DeskMetrics,
        told: Callable[[str], bool] = lambda _: False,
        spare: SpareFile | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._told = told
        self._find = find
        self._bus = bus
        self._metrics = metrics
        self._now = now
        self._open: dict[str, Incident] = {}
        self._was_open: set[str] = set()
        """Incidents that are open as the store or their timeline has it, not heard of since the start."""
        self.not_noted_over: set[str] = set()
        """Those of them that the store has as ended."""
        self._responses: dict[str, Response] = {}
        self._ledger = Ledger(store, is_newest=self._is_newest, written=self._forget_over, spare=spare)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By incident: of what two people do to it at once, each must see what the other did."""
        self._joining: dict[str, list[Incident]] = {}
        """By incident that was not open, or is not heard of yet: those that went into it."""
        self._pressed: dict[str, tuple[Deed, Response, float]] = {}
        """By incident what was done last, what came of it, and when."""
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
        for incident_id in self._open:
            kept = self._responses.get(incident_id)
            if kept is not None and kept.over_at_ns is not None:
                # A crash came between its new beginning and our word of it.
                self._keep(lifecycle.reopen(kept, int(self._now() * 1e9)), "reopened", AGAIN)
        self.not_noted_over = await not_noted_over(
            self._responses.values(), self._was_open, self._store.timeline
        )
        self._was_open |= self.not_noted_over
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

    def parts(self, incident_id: str) -> Sequence[str]:
        """Incidents that went into this one, the last of them."""
        response = self._responses.get(incident_id)
        return response.parts if response is not None else ()

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
                ended = response is not None and response.over_at_ns is not None
                if before is None and was_open and not ended:
                    pass  # It was open before, and is heard of only now.
                elif before is None and response is not None:
                    self._keep(lifecycle.reopen(response, now_ns), "reopened", AGAIN)
                elif before is None:
                    fresh = Response(incident.incident_id, incident.tenant, now_ns)
                    whole = self._responses.get(incident.split_from or "")
                    self._keep(parted(fresh, whole), "opened", incident.title)
                elif before.priority != incident.priority:
                    why = "; ".join(incident.priority_reasons)
                    words = f"{before.priority} becomes {incident.priority}" + (f": {why}" if why else "")
                    self.note(incident.incident_id, "priority", words)
                for gone in self._joining.pop(incident.incident_id, ()):
                    self._join(incident, gone, asks=False)
            else:
                self._take_end(incident, was_open=before is not None or was_open)

    def _take_end(self, incident: Incident, *, was_open: bool) -> None:
        """Note the end of one that was open, and where it went, with what was about to go into it."""
        moved = self._joining.pop(incident.incident_id, [])
        if was_open:
            where = f"into {incident.merged_into}" if incident.state == "merged" else "all alerts ended"
            self.note(incident.incident_id, incident.state, where)
            self._keep_end(incident)
            moved.append(self._open.pop(incident.incident_id, incident))
        if incident.merged_into is None:
            return
        into = self._open.get(incident.merged_into)
        for gone in moved:
            if into is not None:
                self._join(into, gone, asks=self._told(into.incident_id))
            else:
                self._joining.setdefault(incident.merged_into, []).append(gone)
        while len(self._joining) > MAX_JOINING:
            del self._joining[next(iter(self._joining))]

    def _keep_end(self, incident: Incident) -> None:
        """Remember when it ended, should it open anew; what became another one does not."""
        response = self._responses.get(incident.incident_id)
        if response is not None and incident.state == "resolved":
            over = lifecycle.end(response, int(self._now() * 1e9))
            self._responses[incident.incident_id] = over
            self._ledger.keep(over)

    def stays(self, one: str, other: str) -> str | None:
        """Which of two incidents should stay where they become one; None where it is all the same."""
        found = [self._open[incident_id] for incident_id in (one, other) if incident_id in self._open]
        parts = [self._part(incident, asks=self._told(incident.incident_id)) for incident in found]
        if len(parts) == 2:
            return stays(*parts)
        return next((part.incident.incident_id for part in parts if part.is_known), None)

    def _join(self, into: Incident, gone: Incident, *, asks: bool) -> None:
        """Let an incident be as taken on as it and the one that went into it were."""
        before = self._part(into, asks=asks)
        part = self._part(gone, asks=self._told(gone.incident_id))
        response = joined(before, part, now_ns=int(self._now() * 1e9))
        by = f", which {part.response.acknowledged_by} had taken on" if part.level else ""
        self._keep(response, "merge", f"{gone.incident_id} went into it{by}")
        after = Part(into, response, asks)
        if after.level < before.level:
            self.note(into.incident_id, "unacknowledged", response.open_again or "no longer mitigated")
        elif after.level > before.level:
            text = f"with {gone.incident_id}"
            self.note(into.incident_id, "acknowledge", text, actor=response.acknowledged_by)

    def _part(self, incident: Incident, *, asks: bool) -> Part:
        response = self._responses.get(incident.incident_id)
        fresh = Response(incident.incident_id, incident.tenant, int(self._now() * 1e9))
        return Part(incident, response or fresh, asks)

    def note(self, incident_id: str, kind: str, text: str, *, actor: str = "pronoia") -> None:
        """Put something on a timeline; durable within a second or so."""
        self._ledger.add(TimelineEntry(incident_id, int(self._now() * 1e9), kind, actor, text))

    def change(self, response: Response, kind: str, text: str) -> None:
        """Keep a response that pronoia itself has changed."""
        self._keep(response, kind, text)

    async def do(self, incident_id: str, action: str, *, actor: str, text: str = "") -> Response:
        """Take an action of a person; durable when it returns.

        What is done to an incident that went into another one is done to that. The same once more
        within a few seconds is a second press of the button, and changes nothing.

        Raises: ActionError, StoreError; KeyError where there is no such incident.
        """
        home = incident_id if action in OF_ITS_ALERTS else await self.home(incident_id)
        if home != incident_id:
            text, incident_id = f"{text} (of {incident_id}, which went into it)".strip(), home
        async with self._turns.setdefault(incident_id, asyncio.Lock()):
            incident, changed, entry = await self._act(incident_id, action, actor, text)
        if entry is None:
            return changed
        self._metrics.actions.labels(action).inc()
        if action in SAID:
            await self.say(incident_id, action, actor=actor)
        facts = {"incident_id": incident_id, "action": action, "actor": entry.actor, "text": entry.text}
        self._bus.publish(Event("incident.action", self._now(), facts))
        for listener in self._changed:
            listener(incident, action)
        return changed

    async def home(self, incident_id: str) -> str:
        """The incident that this one went into, over however many merges; itself where it did not.

        Raises: StoreError; KeyError where there is no such incident.
        """
        passed: set[str] = set()
        while incident_id not in self._open and incident_id not in passed:
            passed.add(incident_id)
            incident, _ = await self._found(incident_id)
            if incident.merged_into is None or await self._find(incident.merged_into) is None:
                break
            incident_id = incident.merged_into
        return incident_id

    def _is_repeated(self, deed: Deed, response: Response) -> bool:
        """Whether the same was done a moment ago, and nothing has changed since."""
        now = self._now()
        # Either way: the clock may have been set back since.
        self._pressed = {
            key: one for key, one in self._pressed.items() if abs(now - one[2]) < REPEATED_SECONDS
        }
        last = self._pressed.get(response.incident_id)
        return last is not None and last[:2] == (deed, response) and deed[0] not in SAID

    async def _act(
        self, incident_id: str, action: str, actor: str, text: str
    ) -> tuple[Incident, Response, TimelineEntry | None]:
        """Change the response, durably; the incident, its response, and the timeline's entry.

        No entry where the same was done a moment ago.
        """
        # Of an open one the record is here; the store would read all alerts with it, of a storm for seconds.
        incident = self._open.get(incident_id) or (await self._found(incident_id))[0]
        response = await self._known(incident)
        deed = action, actor, text
        if self._is_repeated(deed, response):
            return incident, response, None
        now_ns = int(self._now() * 1e9)
        changed, entry = act(response, incident, action, actor=actor, text=text, now_ns=now_ns)
        await self._ledger.put(changed, entry)
        newest = self._responses.get(incident_id, response)
        if newest is not response:
            # What we changed ourselves meanwhile, as where another incident went into it, stands as well.
            changed, _ = act(newest, incident, action, actor=actor, text=text, now_ns=now_ns)
        self._pressed[incident_id] = deed, changed, self._now()
        if incident.state == "open" and incident_id not in self._open:
            # Stored, and held back from the desk so far: that it is heard of later is no new beginning.
            self._was_open.add(incident_id)
        if incident_id in self._responses or incident.state == "open":
            self._responses[incident_id] = changed
            # Once more: what we changed ourselves meanwhile may be written last.
            self._ledger.keep(changed)
        return incident, changed, entry

    async def say(self, incident_id: str, verdict: str, *, actor: str, of: str = "") -> int:
        """Keep a verdict on an incident; the number of rules or pairs that it speaks of.

        `of`: the incident that it is a duplicate of, where that is known. Of what went into another
        incident nothing is kept: which of that one's alerts were its own nobody knows any more.

        Raises: ActionError for an unknown verdict, and for an incident that went into another one;
        StoreError; KeyError where there is no such incident.
        """
        if verdict not in VERDICTS:
            raise ActionError(f"no verdict {verdict!r}; known: {', '.join(VERDICTS)}")
        if of and verdict != "duplicate":
            raise ActionError("only a duplicate is of another incident")
        if (home := await self.home(incident_id)) != incident_id:
            raise ActionError(f"{incident_id} went into incident {home}; say it of that one")
        incident, episodes = await self._found(incident_id)
        of = await self.home(of) if of else ""
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
