"""What the notifier and its sender ask of the store, and what they tell of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sidecar.records import OutboxMessage


class OutboxStore(Protocol):
    """The outbox in the store."""

    async def put_messages(self, messages: Sequence[OutboxMessage]) -> None:
        """Insert or replace by key, durably, in one transaction."""
        ...

    async def messages_due(
        self, now_ns: int, *, limit: int, target: str | None = None
    ) -> list[OutboxMessage]:
        """Pending messages, of one target or of all, whose time has come: urgent first, then the oldest."""
        ...

    async def messages_of_recent_incidents(self, since_ns: int) -> list[OutboxMessage]:
        """Messages made since then, or of incidents that are open or changed since, the oldest first."""
        ...


class NotifyMetrics:
    """What notifying tells of itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter(
            "pronoia_notifications_total",
            "Messages, by outcome of a try: sent, failed (will be tried again), dead (given up), "
            "fallback (another target was told instead), superseded (a later message told more), "
            "repeated (sent after a try of which nobody knows whether it arrived; counted beside sent).",
            ["target", "result"],
            registry=registry,
        )
        self.pending = Gauge(
            "pronoia_notifications_pending",
            "Messages whose time had come at the last look.",
            ["target"],
            registry=registry,
        )
        self.up = Gauge(
            "pronoia_notification_target_up",
            "1 if the last try to tell the target succeeded.",
            ["target"],
            registry=registry,
        )
        self.duration = Histogram(
            "pronoia_notification_duration_seconds",
            "From the decision to tell until the target has taken the message.",
            ["target"],
            registry=registry,
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 2, 5, 15, 60, 300, 1800),
        )
