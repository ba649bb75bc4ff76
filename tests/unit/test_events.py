"""The bus never blocks: a slow reader loses its oldest events, counted."""

from __future__ import annotations

import asyncio

from sidecar.events import Event, EventBus


async def test_every_subscriber_gets_every_event() -> None:
    bus = EventBus()
    with bus.subscribe() as one, bus.subscribe() as two:
        bus.publish(Event("a", 0.0))
        for subscription in (one, two):
            async with asyncio.timeout(1):
                assert (await anext(aiter(subscription))).kind == "a"


async def test_a_slow_reader_loses_the_oldest() -> None:
    bus = EventBus()
    with bus.subscribe(size=2) as slow:
        for kind in "abc":
            bus.publish(Event(kind, 0.0))
        async with asyncio.timeout(1):
            events = aiter(slow)
            assert [(await anext(events)).kind for _ in range(2)] == ["b", "c"]
    assert bus.dropped_total == 1


async def test_a_closed_subscription_gets_nothing_more() -> None:
    bus = EventBus()
    with bus.subscribe(size=1):
        pass
    bus.publish(Event("a", 0.0))
    bus.publish(Event("b", 0.0))
    assert bus.dropped_total == 0
