"""What the HTTP API reads: protocols that the wiring fulfils, so that the API knows no room's insides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sidecar.records import Episode, Incident, Response, RuleRevision


@dataclass(frozen=True, slots=True)
class ComponentHealth:
    """How one part is: `ok`, and detail in words and numbers."""

    ok: bool
    detail: Mapping[str, Any] = field(default_factory=dict)


class Views(Protocol):
    """Everything that the JSON API shows."""

    def status(self) -> Mapping[str, Any]:
        """`version`, `uptime_seconds`, `config_hash`, addresses of the neighbours."""
        ...

    def queries(self) -> Sequence[Mapping[str, Any]]:
        """One entry a watched query.

        The page reads `name`, `expr`, `n_series`, `n_warming_up`, `n_anomalous`,
        `timestamp_ms` and, where the last pull failed, `error`.
        """
        ...

    def series(self, query: str | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """Newest judgement of each series, the most anomalous first; KeyError for an unknown query.

        Each with `query`, `labels`, `fingerprint`, `timestamp_ms`, `actual`, `expected`, `lower`,
        `upper`, `score`, `direction`, `confidence`, `forecasts`; None where not known.
        """
        ...

    async def incidents(
        self, state: str | None, limit: int, *, urgent_first: bool = False
    ) -> Sequence[Incident]:
        """Newest first, or the most urgent and of equals the newest."""
        ...

    async def responses(self) -> Mapping[str, Response]:
        """What people did about open incidents, by their ids."""
        ...

    async def incident(self, incident_id: str) -> tuple[Incident, list[Episode]] | None:
        """One incident and its episodes."""
        ...

    async def rules(self, limit: int) -> Sequence[RuleRevision]:
        """Revisions of generated rule files, newest first."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Whether a first pull was scored, and if not, why."""
        ...

    def health(self) -> Mapping[str, Callable[[], ComponentHealth]]:
        """A check for each component, by name."""
        ...


Reload = Callable[[], Awaitable[str]]
"""Reads the configuration again. Raises: ConfigError, and then nothing has changed."""
