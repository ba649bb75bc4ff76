"""Who leaves its family is told once, with the families as metrics."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.behaviour import BehaviourConfig
from sidecar.config.model import QueryConfig
from sidecar.errors import ModelError, PullError, PullReason
from sidecar.events import EventBus
from sidecar.loop.behaviour import BehaviourLoop, BehaviourMetrics
from sidecar.loop.clock import SourceClock
from sidecar.series import LabelSet, SeriesBatch

NOW = 1_790_000_000 // 86400 * 86400 + 5 * 3600.0


class History:
    """Two kinds of series; some of the first kind become the second on the last day."""

    def __init__(self) -> None:
        self.changed: list[int] = []
        self.broken = False

    async def history(self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, **_: Any) -> SeriesBatch:
        if self.broken:
            raise PullError(PullReason.TIMEOUT, "no answer")
        times = np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64)
        hour = times // 3_600_000 % 24
        office = 10 + 8.0 * ((hour >= 8) & (hour < 18))
        night = 10 + 20.0 * (hour < 4)
        values = np.stack([office] * 8 + [night] * 8)
        last = times > end_ms - 86_400_000
        values[np.ix_(self.changed, np.flatnonzero(last))] = night[last]
        return SeriesBatch(expr, tuple(LabelSet({"shard": str(i)}) for i in range(16)), times, values)

    instant = range = history


async def test_who_left_is_told_once_and_again_after_a_return() -> None:
    registry, bus, source = CollectorRegistry(), EventBus(), History()
    queries = [QueryConfig(name="load", expr="load")]
    with ThreadPoolExecutor(1) as worker, bus.subscribe() as events:
        loop = BehaviourLoop(
            BehaviourConfig(enabled=True),
            queries=lambda: queries,
            source=source,
            bus=bus,
            worker=worker,
            clock=SourceClock(lambda: NOW),
            metrics=BehaviourMetrics(registry),
            max_series=100,
            now=lambda: NOW,
        )
        left = []
        for changed in ([], [3], [3], [], [3, 4]):
            source.changed = changed
            await loop.round()
            left.append(registry.get_sample_value("pronoia_behaviour_left_total", {"query": "load"}))
        assert left == [0, 1, 1, 1, 3]
        assert registry.get_sample_value("pronoia_behaviour_families", {"query": "load"}) == 2
        event = await asyncio.wait_for(anext(aiter(events)), 5)
        assert event.kind == "series.left_family"
        assert event.facts["labels"] == {"shard": "3"}
        (told,) = loop.summaries()
        assert [one["n_series"] for one in told["families"]] == [8, 8]
        assert [one["labels"]["shard"] for one in told["left"]] == ["3", "4"]
        source.broken = True
        await loop.round()
        queries.clear()
        await loop.round()
        assert registry.get_sample_value("pronoia_behaviour_families", {"query": "load"}) is None


async def test_families_are_found_when_asked_for_and_kept_for_an_interval() -> None:
    source, now = History(), NOW
    with ThreadPoolExecutor(1) as worker:
        loop = BehaviourLoop(
            BehaviourConfig(),
            queries=lambda: [QueryConfig(name="load", expr="load")],
            source=source,
            bus=EventBus(),
            worker=worker,
            clock=SourceClock(lambda: now),
            metrics=BehaviourMetrics(CollectorRegistry()),
            max_series=100,
            now=lambda: now,
        )
        assert loop.summaries() == []
        source.changed = [3]
        found = await loop.families("load")
        assert found["stability"] == 1
        assert found["silhouette"] > 0.9
        assert [one["families"] for one in found["joined"]] == [[0, 1]]
        office = next(one for one in found["families"] if one["hours"][12] > 0)
        assert office["series"][-1]["labels"] == {"shard": "3"}, "the furthest from its family's day"
        assert office["series"][-1]["distance"] > 0.3 > office["series"][-2]["distance"]
        source.broken = True
        assert await loop.families("load") == found
        now += 7 * 3600
        with pytest.raises(PullError):
            await loop.families("load")
        with pytest.raises(KeyError):
            await loop.families("other")


class Killed(Executor):
    """A process that the kernel ends for want of memory."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(BrokenProcessPool("A process in the process pool was terminated abruptly"))
        return future


async def test_a_reload_tells_nobody_twice_and_forgets_who_is_gone() -> None:
    registry, bus, source = CollectorRegistry(), EventBus(), History()
    metrics, queries = BehaviourMetrics(registry), [QueryConfig(name="load", expr="load")]

    def begun(worker: Executor, *, enabled: bool = True) -> BehaviourLoop:
        return BehaviourLoop(
            BehaviourConfig(enabled=enabled),
            queries=lambda: queries,
            source=source,
            bus=bus,
            worker=worker,
            clock=SourceClock(lambda: NOW),
            metrics=metrics,
            max_series=100,
            now=lambda: NOW,
        )

    def told(metric: str) -> float | None:
        return registry.get_sample_value(f"pronoia_behaviour_{metric}", {"query": "load"})

    with ThreadPoolExecutor(1) as worker:
        first, second, third = begun(worker), begun(worker), begun(worker, enabled=False)
        source.changed = [3]
        await first.round()
        second.take_over(first)
        await second.round()
        assert told("left_total") == 1
        third.take_over(second)
        third.start()
        assert told("left_total") is None
        assert told("families") is None


async def test_a_process_that_is_killed_is_told_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    loop = BehaviourLoop(
        BehaviourConfig(enabled=True),
        queries=lambda: [QueryConfig(name="load", expr="load")],
        source=History(),
        bus=EventBus(),
        worker=Killed(),
        clock=SourceClock(lambda: NOW),
        metrics=BehaviourMetrics(CollectorRegistry()),
        max_series=100,
        now=lambda: NOW,
    )
    with pytest.raises(ModelError, match="memory"):
        await loop.families("load")
    await loop.round()
    told = capsys.readouterr()
    assert "Traceback" not in told.out + told.err


async def test_it_does_nothing_unless_enabled() -> None:
    with ThreadPoolExecutor(1) as worker:
        loop = BehaviourLoop(
            BehaviourConfig(),
            queries=list,
            source=History(),
            bus=EventBus(),
            worker=worker,
            clock=SourceClock(lambda: NOW),
            metrics=BehaviourMetrics(CollectorRegistry()),
            max_series=100,
            now=lambda: NOW,
        )
        loop.start()
        await loop.stop()
