"""Protocols at which the rooms meet, so that each can be started alone in a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sidecar.records import Delivery, Episode, Incident, RuleRevision
from sidecar.series import Evaluation, SeriesBatch


class Source(Protocol):
    """Where series come from. Times are int64 ms; both ends of a range are included."""

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        """The value of each series at one instant: shape (N, 1).

        Raises: PullError, TooManySeries.
        """
        ...

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        """Values on the grid of multiples of `step_ms` within [start, end]; split where too long.

        Raises: PullError, TooManySeries.
        """
        ...


class HistorySource(Source, Protocol):
    """A source that can also give long history by whatever way is fastest for it."""

    async def history(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        """As `range`; plain selectors may travel as raw chunks."""
        ...


class Sink(Protocol):
    """Where evaluations go: the scrape page, later remote write."""

    def publish(self, evaluation: Evaluation) -> None:
        """Take one evaluation; cheap enough to call once per query and step, off the event loop."""
        ...

    def retire(self, query: str) -> None:
        """Forget a query that is no longer watched."""
        ...


class AlertStore(Protocol):
    """The alerts loop's memory. Every call is durable when it returns, or raises StoreError."""

    async def commit_deliveries(self, deliveries: Sequence[Delivery], changed: Sequence[Episode]) -> None:
        """In one transaction: delivery records, dead letters and changed episodes."""
        ...

    async def open_episodes(self) -> list[Episode]:
        """Every episode that is not resolved, oldest first."""
        ...

    async def put_incidents(self, incidents: Sequence[Incident], members: Sequence[Episode]) -> None:
        """In one transaction: incidents as they now are, and episodes whose incident changed."""
        ...

    async def incidents(self, *, limit: int = 100, state: str | None = None) -> list[Incident]:
        """Newest first; `state` is open or resolved, None for both."""
        ...

    async def incident(self, incident_id: str) -> tuple[Incident, list[Episode]] | None:
        """The incident and its episodes, or None where there is none of that id."""
        ...


class RuleStore(Protocol):
    """The rules loop's memory."""

    async def put_revision(self, *revisions: RuleRevision) -> None:
        """Insert or replace by `revision_id`; all of them or none."""
        ...

    async def revisions(
        self, *, group: str | None = None, state: str | None = None, limit: int = 100
    ) -> list[RuleRevision]:
        """Newest first; None: of every group, in every state."""
        ...


class Maintenance(Protocol):
    """What an operator does to a store."""

    async def status(self) -> Mapping[str, Any]:
        """Schema version, sizes, rows per table, oldest and newest row."""
        ...

    async def prune(self, *, now_ns: int) -> Mapping[str, int]:
        """Delete what is older than its table's retention; rows deleted per table."""
        ...

    async def close(self) -> None:
        """Write what waits, then let go of the database."""
        ...
