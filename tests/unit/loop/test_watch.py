"""A watched query on a source whose clock is not always right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import QueryConfig
from sidecar.events import EventBus
from sidecar.loop.clock import SourceClock
from sidecar.loop.metrics import LoopMetrics
from sidecar.loop.watch import Watch
from sidecar.offload import Offload
from sidecar.series import LabelSet, SeriesBatch

QUERY = QueryConfig(name="up", expr="up", step="1m", history="2h", offset="0s")  # type: ignore[arg-type]
NOON = 1_750_000_000.0 // 60 * 60
LABELS = (LabelSet({"job": "a"}), LabelSet({"job": "b"}))


class Source:
    """Answers for any time, and tells its own, which `shift` makes wrong."""

    def __init__(self, clock: SourceClock) -> None:
        self.now, self.shift = NOON, 0.0
        self._clock = clock
        self.n_read = 0

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        return self._answer(np.array([at_ms], dtype=np.int64))

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        first = -(-start_ms // step_ms) * step_ms
        return self._answer(np.arange(first, end_ms + 1, step_ms, dtype=np.int64))

    async def history(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        self.n_read += 1
        return await self.range(
            expr, start_ms=start_ms, end_ms=end_ms, step_ms=step_ms, name=name, max_series=max_series
        )

    def _answer(self, times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> SeriesBatch:
        self._clock.observe(self.now + self.shift)
        minutes = times / 60_000.0
        return SeriesBatch("up", LABELS, times, np.stack([np.sin(minutes), np.cos(minutes)]) + 5)


@pytest.fixture
def bench(tmp_path: Path) -> tuple[Source, Callable[[], Watch]]:
    clock = SourceClock(lambda: source.now)
    source = Source(clock)

    def make() -> Watch:
        return Watch(
            QUERY,
            source=source,
            sinks=(),
            bus=EventBus(),
            offload=Offload(1),
            clock=clock,
            metrics=LoopMetrics(CollectorRegistry()),
            directory=tmp_path,
            max_series=100,
            now=lambda: source.now,
        )

    return source, make


async def judged_after(watch: Watch, source: Source, minutes: int) -> float:
    """Steps as the loop makes them; the distance in seconds of the last one judged from the true time."""
    for _ in range(minutes):
        source.now += 60
        await watch.step()
    assert watch.evaluation is not None
    return watch.evaluation.timestamp_ms / 1000 - source.now


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("ahead", "n_read"),
    [
        pytest.param(1800.0, 1, id="half an hour: what was judged stays, time passes"),
        pytest.param(7200.0, 2, id="hours: learnt anew"),
        pytest.param(50 * 365 * 86400.0, 2, id="half a century: the same"),
    ],
)
async def test_a_source_that_was_ahead_for_a_moment_does_not_blind_a_query_for_long(
    bench: tuple[Source, Callable[[], Watch]], ahead: float, n_read: int, restarted: bool
) -> None:
    source, make = bench
    watch = make()
    await watch.prepare()
    assert await judged_after(watch, source, 3) == 0

    source.shift = ahead
    assert await judged_after(watch, source, 3) == pytest.approx(ahead, abs=60)
    source.shift = 0.0
    if restarted:
        await watch.checkpoint()
        watch = make()
        await watch.prepare()
    for _ in range(40):
        source.now += 60
        await watch.step()
    assert watch.evaluation is not None
    assert watch.evaluation.timestamp_ms / 1000 == source.now
    assert source.n_read == n_read
