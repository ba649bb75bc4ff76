"""The in-process event bus on which the three loops meet.

Publishing never blocks and never raises: a subscriber that falls behind loses
its oldest events, and the loss is counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

QUEUE_SIZE = 1024  # A page that is closed without a word must not hold more than this.


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `kind` is dotted, as `rules.published`; facts are JSON-ready."""

    kind: str
    at_seconds: float
    facts: Mapping[str, Any] = field(default_factory=dict)


class Subscription:
    """A bounded queue of events, read with `async for`."""

    def __init__(self, size: int) -> None:
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(size)
        self.dropped = 0

    def offer(self, event: Event) -> bool:
        """Take the event, at the cost of the oldest one when full. False if one was lost."""
        kept = True
        if self._queue.full():
            self._queue.get_nowait()
            self.dropped += 1
            kept = False
        self._queue.put_nowait(event)
        return kept

    def end(self) -> None:
        """Let the reader's loop end."""
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self._queue.get()) is not None:
            yield event


class EventBus:
    """Fan-out of events to subscribers on one event loop."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription] = set()
        self.dropped_total = 0

    @contextmanager
    def subscribe(self, size: int = QUEUE_SIZE) -> Iterator[Subscription]:
        """A subscription that lives as long as the `with` block."""
        subscription = Subscription(size)
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def publish(self, event: Event) -> None:
        """Hand the event to every subscriber. Call on the event loop's thread."""
        for subscription in self._subscriptions:
            if not subscription.offer(event):
                self.dropped_total += 1

    def close(self) -> None:
        """End every subscription: the process stops."""
        for subscription in self._subscriptions:
            subscription.end()
