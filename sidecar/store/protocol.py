"""What the sidecar needs of a store: the whole of it; each part asks for less, in a protocol of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.ports import AlertStore, Maintenance, RuleStore
from sidecar.records import (
    Episode,
    EpisodeStart,
    Feedback,
    Incident,
    OutboxMessage,
    Response,
    SeriesVerdict,
    Signal,
    TimelineEntry,
)


class Responses(Protocol):
    """What people did and said of incidents. Every call may raise StoreError."""

    async def put_responses(
        self, responses: Sequence[Response], entries: Sequence[TimelineEntry] = ()
    ) -> None:
        """Responses as they now are, by incident, and what is new on timelines, in one transaction."""
        ...

    async def response(self, incident_id: str) -> Response | None:
        """What people did about one incident."""
        ...

    async def responses(self, *, open_only: bool = False, since_ns: int = 0) -> list[Response]:
        """Responses changed since then, or, whenever that was, of incidents that are open; newest first."""
        ...

    async def timeline(self, incident_id: str) -> list[TimelineEntry]:
        """What happened in one incident, in order, and what people did about those that went into it."""
        ...

    async def put_feedback(self, given: Sequence[Feedback]) -> None:
        """Keep verdicts; the same one of the same person on the same thing counts once."""
        ...

    async def feedback(self, *, since_ns: int = 0) -> list[Feedback]:
        """Verdicts given since then, oldest first."""
        ...


class Signals(Protocol):
    """What may have heralded incidents. Every call may raise StoreError."""

    async def begin(self, now_ns: int) -> None:
        """Note that signals are recorded from now on, if they were not before."""
        ...

    async def since(self) -> int | None:
        """Since when signals are recorded, ns; None: they never were."""
        ...

    async def put(self, signals: Sequence[Signal]) -> None:
        """Keep these; one of a time, kind and service that is known already changes nothing."""
        ...

    async def get(self, *, since_ns: int = 0) -> list[Signal]:
        """Signals since then, the oldest first."""
        ...

    async def alert_starts(self, *, since_ns: int = 0, limit: int) -> list[EpisodeStart]:
        """Episodes that began since then, or are of incidents that did; the newest ones, in order of time."""
        ...


class Verdicts(Protocol):
    """What people said of series' anomalies. Every call may raise StoreError."""

    async def put(self, one: SeriesVerdict) -> int:
        """Keep a verdict; its id, by which it can be taken back."""
        ...

    async def everything(self) -> list[SeriesVerdict]:
        """All that were not taken back, oldest first."""
        ...

    async def take_back(self, verdict_id: int) -> bool:
        """Forget a verdict; False where there is none of that id."""
        ...


class Store(AlertStore, RuleStore, Maintenance, Protocol):
    """Everything that outlives the process. What is put is durable when the call returns.

    Every call may raise StoreError, StoreFull where there is no room; nothing of it was stored then.
    Records that come back are the caller's: to change one changes nothing that is stored. Calls may
    overlap, and what is put last stays.
    """

    @property
    def response_store(self) -> Responses:
        """What people did and said of incidents."""
        ...

    @property
    def signal_store(self) -> Signals:
        """What may have heralded incidents."""
        ...

    @property
    def verdict_store(self) -> Verdicts:
        """What people said of series' anomalies."""
        ...

    async def recent_episodes(self, since_ns: int) -> list[Episode]:
        """Episodes that are open or were last seen since then, by when they began."""
        ...

    async def older_of_open_incidents(self, before_ns: int) -> list[Episode]:
        """Resolved episodes, last seen before then, of incidents that are open, by when they began."""
        ...

    async def episodes_begun(self, since_ns: int, *, limit: int) -> list[Episode]:
        """Those that began since then, by when they did; of too many the earliest."""
        ...

    async def episodes_heard(self, since_ns: int, *, limit: int) -> list[Episode]:
        """Those first heard of since then, by when they were; of too many the earliest."""
        ...

    async def incidents(
        self, *, limit: int = 100, state: str | None = None, urgent_first: bool = False
    ) -> list[Incident]:
        """Newest first, or the most urgent, of equals the newest; `state`: open, resolved, None for both."""
        ...

    async def incident_record(self, incident_id: str) -> Incident | None:
        """The incident without its episodes, of which a storm has a hundred thousand."""
        ...

    async def put_messages(self, messages: Sequence[OutboxMessage]) -> None:
        """Messages of the outbox as they now are, by key, in one transaction."""
        ...

    async def messages_due(
        self, now_ns: int, *, limit: int, target: str | None = None
    ) -> list[OutboxMessage]:
        """Pending messages whose time has come and that no earlier one of their incident holds up.

        Those of the most urgent incidents first, of each in the order in which they were made.
        """
        ...

    async def messages_of_recent_incidents(self, since_ns: int) -> list[OutboxMessage]:
        """Messages made since then, or of incidents that are open or changed since, the oldest first."""
        ...

    async def messages_of(self, incident_id: str) -> list[OutboxMessage]:
        """Messages of one incident, in the order in which they were made."""
        ...

    async def senders(self) -> tuple[dict[str, set[str]], set[str]]:
        """Of the latest deliveries: receivers by tenant, and the external URLs of all that sent them."""
        ...

    async def note(self, name: str) -> bytes | None:
        """What was put under that name; None where there is none."""
        ...

    async def put_note(self, name: str, body: bytes) -> None:
        """Keep a note, in place of one of that name."""
        ...

    def end_within(self, seconds: float) -> None:
        """Let all work from now on together wait no longer than that: the process is to end."""
        ...


class Opener(Protocol):
    """A kind of store: what `STORES` has for its name."""

    async def open(self, config: StoreConfig, *, registry: CollectorRegistry) -> Store:
        """The store that the configuration describes, made and migrated if need be.

        What it tells of itself goes to the registry, by the names in docs/metrics.md. Raises: StoreError.
        """
        ...

    def is_there(self, config: StoreConfig) -> bool:
        """Whether there is such a store already, so that a command that only looks makes none."""
        ...
