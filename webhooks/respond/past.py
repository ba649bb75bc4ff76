"""What there was: incidents, alerts, what people did and said, of all teams or of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from sidecar.records import Episode, Feedback, Incident, OutboxMessage, Response

MAX_INCIDENTS, MAX_EPISODES = 10_000, 200_000


class ResponseStore(Protocol):
    """What people did and said."""

    async def responses(self, *, open_only: bool = False, since_ns: int = 0) -> list[Response]:
        """Those changed since then."""
        ...

    async def feedback(self, *, since_ns: int = 0) -> list[Feedback]:
        """Verdicts given since then."""
        ...


class PastStore(Protocol):
    """The stored past. Every call may raise StoreError."""

    @property
    def response_store(self) -> ResponseStore:
        """What people did and said."""
        ...

    async def incidents(self, *, limit: int = 100, state: str | None = None) -> list[Incident]:
        """Newest first."""
        ...

    async def episodes_begun(self, since_ns: int, *, limit: int) -> list[Episode]:
        """Those that began since then, the earliest first."""
        ...

    async def messages_of_recent_incidents(self, since_ns: int) -> list[OutboxMessage]:
        """Messages made since then, or of incidents that are open or changed since."""
        ...


@dataclass(frozen=True)
class AlertPast:
    """A stretch of the past; `n_messages` were sent in it."""

    incidents: Sequence[Incident]
    episodes: Sequence[Episode]
    responses: Mapping[str, Response]
    feedback: Sequence[Feedback]
    n_messages: int

    @classmethod
    async def read(cls, store: PastStore, *, since_ns: int, team: str | None = None) -> AlertPast:
        """What is stored since then; of one team, where it is named.

        Raises: StoreError.
        """
        kept = store.response_store
        responses = {response.incident_id: response for response in await kept.responses()}

        def wanted(incident_id: str | None) -> bool:
            response = responses.get(incident_id or "")
            return team is None or (response is not None and response.team == team)

        incidents = await store.incidents(limit=MAX_INCIDENTS)
        episodes = await store.episodes_begun(since_ns, limit=MAX_EPISODES)
        messages = await store.messages_of_recent_incidents(since_ns)
        return cls(
            [one for one in incidents if one.started_at_ns >= since_ns and wanted(one.incident_id)],
            [one for one in episodes if wanted(one.incident_id)],
            responses,
            [one for one in await kept.feedback(since_ns=since_ns) if wanted(one.incident_id)],
            sum(
                m.state == "sent" and m.created_at_ns >= since_ns and wanted(m.incident_id) for m in messages
            ),
        )
