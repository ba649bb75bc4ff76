"""A store that keeps everything in memory: what the contract of stores asks, and nothing of SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.records import (
    Delivery,
    Episode,
    EpisodeStart,
    Feedback,
    Incident,
    OutboxMessage,
    Response,
    RuleRevision,
    SeriesVerdict,
    Signal,
    TimelineEntry,
)

Key = tuple[str, str, int]


class Shelves:
    """What is kept, by key. Only copies go in and out."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.episodes: dict[Key, Episode] = {}
        self.incidents: dict[str, Incident] = {}
        self.messages: dict[str, OutboxMessage] = {}
        self.notes: dict[str, bytes] = {}
        self.revisions: dict[str, RuleRevision] = {}
        self.responses: dict[str, Response] = {}
        self.timeline: list[TimelineEntry] = []
        self.feedback: dict[tuple[str, ...], Feedback] = {}
        self.signals: dict[tuple[int, str, str], Signal] = {}
        self.verdicts: dict[int, SeriesVerdict] = {}

    def is_open(self, incident_id: str | None) -> bool:
        found = self.incidents.get(incident_id or "")
        return found is not None and found.state == "open"

    def episodes_where(self, fits: Callable[[Episode], bool], by: str = "starts_at_ns") -> list[Episode]:
        found = [deepcopy(one) for one in self.episodes.values() if fits(one)]
        return sorted(found, key=lambda one: getattr(one, by))


class MemoryStore:
    """Survives a close, as long as the folder's name is asked for in this process."""

    places: dict[str, Shelves] = {}

    def __init__(self, shelves: Shelves) -> None:
        self._kept = shelves
        self.response_store = _Responses(shelves)
        self.signal_store = _Signals(shelves)
        self.verdict_store = _Verdicts(shelves)

    @classmethod
    async def open(cls, config: StoreConfig, *, registry: CollectorRegistry) -> MemoryStore:
        return cls(cls.places.setdefault(str(config.directory), Shelves()))

    @classmethod
    def is_there(cls, config: StoreConfig) -> bool:
        return str(config.directory) in cls.places

    async def close(self) -> None:
        pass

    def end_within(self, seconds: float) -> None:
        pass

    async def status(self) -> Mapping[str, Any]:
        return {"rows": {name: len(rows) for name, rows in vars(self._kept).items()}}

    async def prune(self, *, now_ns: int) -> Mapping[str, int]:
        return {}

    async def commit_deliveries(self, deliveries: Sequence[Delivery], changed: Sequence[Episode]) -> None:
        self._kept.deliveries += deliveries
        for one in deepcopy(list(changed)):
            before = self._kept.episodes.setdefault(one.key, one)
            if before is not one:
                before.ends_at_ns, before.annotations = one.ends_at_ns, one.annotations
                before.last_seen_ns, before.deliveries = one.last_seen_ns, one.deliveries
                before.state, before.incident_id = one.state, before.incident_id or one.incident_id

    async def put_incidents(self, incidents: Sequence[Incident], members: Sequence[Episode]) -> None:
        self._kept.incidents |= {one.incident_id: deepcopy(one) for one in incidents}
        for one in members:
            kept = self._kept.episodes.get(one.key)
            if kept is not None:
                kept.incident_id, kept.bonds = one.incident_id, dict(one.bonds)
                kept.state = one.state if kept.state == "firing" else kept.state

    async def open_episodes(self) -> list[Episode]:
        return self._kept.episodes_where(lambda one: one.state != "resolved")

    async def recent_episodes(self, since_ns: int) -> list[Episode]:
        return self._kept.episodes_where(lambda one: one.state != "resolved" or one.last_seen_ns >= since_ns)

    async def older_of_open_incidents(self, before_ns: int) -> list[Episode]:
        return self._kept.episodes_where(
            lambda one: (
                one.state == "resolved"
                and one.last_seen_ns < before_ns
                and self._kept.is_open(one.incident_id)
            )
        )

    async def episodes_begun(self, since_ns: int, *, limit: int) -> list[Episode]:
        return self._kept.episodes_where(lambda one: one.starts_at_ns >= since_ns)[:limit]

    async def episodes_heard(self, since_ns: int, *, limit: int) -> list[Episode]:
        found = self._kept.episodes_where(lambda one: one.first_seen_ns >= since_ns, by="first_seen_ns")
        return found[:limit]

    async def incidents(
        self, *, limit: int = 100, state: str | None = None, urgent_first: bool = False
    ) -> list[Incident]:
        states = (state,) if state else ("open", "resolved")
        found = [deepcopy(one) for one in self._kept.incidents.values() if one.state in states]
        found.sort(key=lambda one: (one.priority if urgent_first else "", -one.started_at_ns))
        return found[:limit]

    async def incident_record(self, incident_id: str) -> Incident | None:
        return deepcopy(self._kept.incidents.get(incident_id))

    async def incident(self, incident_id: str) -> tuple[Incident, list[Episode]] | None:
        found = await self.incident_record(incident_id)
        members = self._kept.episodes_where(lambda one: one.incident_id == incident_id)
        return None if found is None else (found, members)

    async def put_messages(self, messages: Sequence[OutboxMessage]) -> None:
        self._kept.messages |= {one.key: deepcopy(one) for one in messages}

    def _messages(self, fits: Callable[[OutboxMessage], bool]) -> list[OutboxMessage]:
        found = [deepcopy(one) for one in self._kept.messages.values() if fits(one)]
        return sorted(found, key=lambda one: (one.created_at_ns, one.number, one.key))

    async def messages_due(
        self, now_ns: int, *, limit: int, target: str | None = None
    ) -> list[OutboxMessage]:
        pending = self._messages(lambda one: one.state == "pending" and one.target == (target or one.target))

        def same(one: OutboxMessage) -> list[OutboxMessage]:
            return [o for o in pending if (o.target, o.incident_id) == (one.target, one.incident_id)]

        due = [one for one in pending if one.due_at_ns <= now_ns]
        due = [
            one for one in due if not any(o.number < one.number and o.due_at_ns > now_ns for o in same(one))
        ]
        urgency = {id(one): min(o.priority for o in same(one) if o in due) for one in due}
        return sorted(due, key=lambda one: urgency[id(one)])[:limit]

    async def messages_of_recent_incidents(self, since_ns: int) -> list[OutboxMessage]:
        current = {
            one.incident_id
            for one in self._kept.incidents.values()
            if one.state == "open" or one.last_change_ns >= since_ns
        }
        return self._messages(lambda one: one.created_at_ns >= since_ns or one.incident_id in current)

    async def messages_of(self, incident_id: str) -> list[OutboxMessage]:
        return self._messages(lambda one: one.incident_id == incident_id)

    async def senders(self) -> tuple[dict[str, set[str]], set[str]]:
        told = [one for one in self._kept.deliveries[-2000:] if one.external_url]
        receivers: dict[str, set[str]] = {}
        for one in told:
            receivers.setdefault(one.tenant, set()).add(one.receiver)
        return receivers, {one.external_url for one in told}

    async def note(self, name: str) -> bytes | None:
        return self._kept.notes.get(name)

    async def put_note(self, name: str, body: bytes) -> None:
        self._kept.notes[name] = body

    async def put_revision(self, *revisions: RuleRevision) -> None:
        for one in revisions:
            self._kept.revisions.pop(one.revision_id, None)
            self._kept.revisions[one.revision_id] = deepcopy(one)

    async def revisions(
        self, *, group: str | None = None, state: str | None = None, limit: int = 100
    ) -> list[RuleRevision]:
        newest_put = reversed(self._kept.revisions.values())
        found = [
            one
            for one in newest_put
            if one.group == (group or one.group) and one.state == (state or one.state)
        ]
        return deepcopy(sorted(found, key=lambda one: -one.created_at_ns)[:limit])


class _Responses:
    def __init__(self, kept: Shelves) -> None:
        self._kept = kept

    async def put_responses(
        self, responses: Sequence[Response], entries: Sequence[TimelineEntry] = ()
    ) -> None:
        self._kept.responses |= {one.incident_id: deepcopy(one) for one in responses}
        self._kept.timeline += entries

    async def response(self, incident_id: str) -> Response | None:
        return deepcopy(self._kept.responses.get(incident_id))

    async def responses(self, *, open_only: bool = False, since_ns: int = 0) -> list[Response]:
        found: Iterable[Response] = self._kept.responses.values()
        if open_only:
            found = [one for one in found if self._kept.is_open(one.incident_id)]
        else:
            found = [one for one in found if one.changed_at_ns >= since_ns]
        return deepcopy(sorted(found, key=lambda one: -one.changed_at_ns))

    async def timeline(self, incident_id: str) -> list[TimelineEntry]:
        kept = self._kept.responses.get(incident_id)
        parts = kept.parts if kept is not None else []
        found = [
            one
            for one in self._kept.timeline
            if one.incident_id == incident_id or (one.incident_id in parts and one.actor != "pronoia")
        ]
        return sorted(found, key=lambda one: one.at_ns)

    async def put_feedback(self, given: Sequence[Feedback]) -> None:
        for f in given:
            self._kept.feedback.setdefault((f.incident_id, f.verdict, f.actor, f.rule, f.other_rule), f)

    async def feedback(self, *, since_ns: int = 0) -> list[Feedback]:
        found = [one for one in self._kept.feedback.values() if one.at_ns >= since_ns]
        return sorted(found, key=lambda one: one.at_ns)


class _Signals:
    def __init__(self, kept: Shelves) -> None:
        self._kept = kept

    async def begin(self, now_ns: int) -> None:
        self._kept.notes.setdefault("signals-since", str(now_ns).encode())

    async def since(self) -> int | None:
        found = self._kept.notes.get("signals-since")
        return None if found is None else int(found)

    async def put(self, signals: Sequence[Signal]) -> None:
        for one in signals:
            self._kept.signals.setdefault((one.at_ns, one.kind, one.service), one)

    async def get(self, *, since_ns: int = 0) -> list[Signal]:
        found = [one for one in self._kept.signals.values() if one.at_ns >= since_ns]
        return sorted(found, key=lambda one: one.at_ns)

    async def alert_starts(self, *, since_ns: int = 0, limit: int) -> list[EpisodeStart]:
        late = {one.incident_id for one in self._kept.incidents.values() if one.started_at_ns >= since_ns}
        found = self._kept.episodes_where(
            lambda one: one.starts_at_ns >= since_ns or one.incident_id in late
        )[-limit:]
        return [
            EpisodeStart(one.starts_at_ns, msgspec.json.encode(one.labels).decode(), one.incident_id)
            for one in found
        ]


class _Verdicts:
    def __init__(self, kept: Shelves) -> None:
        self._kept = kept

    async def put(self, one: SeriesVerdict) -> int:
        number = max(self._kept.verdicts, default=0) + 1
        self._kept.verdicts[number] = msgspec.structs.replace(one, id=number)
        return number

    async def everything(self) -> list[SeriesVerdict]:
        return sorted(self._kept.verdicts.values(), key=lambda one: (one.at_ns, one.id))

    async def take_back(self, verdict_id: int) -> bool:
        return self._kept.verdicts.pop(verdict_id, None) is not None
