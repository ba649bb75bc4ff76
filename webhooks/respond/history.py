"""The recent past, held for comparison: which incidents ended, and what people wrote about them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

from sidecar.records import Incident, Response
from webhooks.respond.experts import experts
from webhooks.respond.similar import Similar, similar

MAX_PAST, MAX_RESPONSES = 1000, 10_000
REMEMBER_SECONDS = 400 * 86400.0


class Incidents(Protocol):
    """The stored incidents."""

    async def incidents(self, *, limit: int = 100, state: str | None = None) -> list[Incident]:
        """Newest first."""
        ...


class Responses(Protocol):
    """The stored responses."""

    async def responses(self, *, open_only: bool = False, since_ns: int = 0) -> list[Response]:
        """Those changed since then, newest first."""
        ...


class History:
    """The last thousand incidents that ended."""

    def __init__(
        self, incidents: Incidents, responses: Responses, *, now: Callable[[], float] = time.time
    ) -> None:
        self._stored = incidents
        self._responses_stored = responses
        self._now = now
        self._past: dict[str, Incident] = {}
        self._responses: dict[str, Response] = {}

    async def open(self) -> None:
        """Read what is stored.

        Raises: StoreError.
        """
        for incident in reversed(await self._stored.incidents(state="resolved", limit=MAX_PAST)):
            self._past[incident.incident_id] = incident
        since_ns = int((self._now() - REMEMBER_SECONDS) * 1e9)
        for response in reversed(await self._responses_stored.responses(since_ns=since_ns)):
            self.learn(response)  # The newest last: where there are too many, the oldest leave.

    def observe(self, incidents: Iterable[Incident]) -> None:
        """Take in what has ended."""
        for incident in incidents:
            if incident.state == "resolved":
                self._past[incident.incident_id] = incident
            else:
                self._past.pop(incident.incident_id, None)
        while len(self._past) > MAX_PAST:
            del self._past[next(iter(self._past))]

    def learn(self, response: Response) -> None:
        """Take in what people wrote; the rest of a response tells nothing for later."""
        if response.fix or response.cause or response.assignee:
            self._responses[response.incident_id] = response
        while len(self._responses) > MAX_RESPONSES:
            del self._responses[next(iter(self._responses))]

    def experts(self, incident: Incident, people: Iterable[str]) -> list[str]:
        """Who of these people took on what was like it, the most experienced first."""
        return experts(incident, self._past.values(), self._responses, people=people, now=self._now())

    def similar(self, incident: Incident) -> list[Similar]:
        """Past incidents like this one, the most alike first."""
        return similar(incident, self._past.values(), self._responses)
