"""Who is told of an incident: asked for each one, so that teams, shifts and pauses can have their say."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from sidecar.records import Incident


class Audience(Protocol):
    """Answers for one moment; nothing is remembered of what was answered before."""

    def listeners(self, incident: Incident, *, now: float, since: float | None) -> Collection[str]:
        """Names of the targets that should know; `since`: when anybody was first told, None before."""
        ...

    def held_back(self, incident: Incident, *, now: float) -> str:
        """Why nobody is told of it yet, in words; empty where nothing holds it back."""
        ...

    def status(self, incident: Incident) -> str:
        """open, acknowledged, mitigated, reopened, resolved or merged."""
        ...

    async def prepare(self, incidents: Sequence[Incident]) -> None:
        """Find out about incidents that are told of next, in a bounded time."""
        ...

    def facts(self, incident: Incident, *, target: str) -> Mapping[str, object]:
        """More for the message: `team`, `assignee`, `links` (address by what stands on it), and what
        was found out, by name: `facts` and `values`.
        """
        ...


class Everybody:
    """All targets, of everything."""

    def __init__(self, targets: Collection[str]) -> None:
        self._targets = targets

    def listeners(self, incident: Incident, *, now: float, since: float | None) -> Collection[str]:
        """All."""
        return self._targets

    def held_back(self, incident: Incident, *, now: float) -> str:
        """Nothing."""
        return ""

    def status(self, incident: Incident) -> str:
        """As correlation sees it."""
        return incident.state

    async def prepare(self, incidents: Sequence[Incident]) -> None:
        """Nothing."""

    def facts(self, incident: Incident, *, target: str) -> Mapping[str, object]:
        """None."""
        return {}
