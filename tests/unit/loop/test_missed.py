"""After an outage: what was missed is judged in parts, also where series came and went meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from sidecar.errors import TooManySeries
from sidecar.loop import missed
from sidecar.loop.missed import judged_but_newest
from sidecar.series import LabelSet, SeriesBatch
from tests.unit.loop.test_watch import Source, source_and_watches

STEP = 1000


@dataclass
class Past:
    """A source with a step each second; `known(at)` are the series of one, `most` are answered."""

    known: Callable[[int], frozenset[str]]
    most: int = 10
    pulled: list[tuple[int, int]] = field(default_factory=list)
    judged: list[tuple[int, int]] = field(default_factory=list)

    async def pull(self, start_ms: int, end_ms: int) -> SeriesBatch:
        self.pulled.append((start_ms, end_ms))
        times = np.arange(start_ms, end_ms + 1, STEP, dtype=np.int64)
        names = sorted(frozenset().union(*(self.known(at) for at in times.tolist())))
        if len(names) > self.most:
            raise TooManySeries("q", len(names), self.most)
        labels = tuple(LabelSet({"pod": name}) for name in names)
        return SeriesBatch("q", labels, times, np.zeros((len(labels), len(times))))

    async def judge(self, batch: SeriesBatch, start_ms: int, end_ms: int) -> None:
        assert (batch.timestamps[0], batch.timestamps[-1]) == (start_ms, end_ms)
        self.judged.append((start_ms, end_ms))

    async def caught_up(self, end_ms: int, *, n_series: int = 1, present_ms: int = 10**9) -> tuple[int, int]:
        """The newest part, once those before it are judged."""
        start_ms, batch = await judged_but_newest(
            STEP,
            end_ms,
            STEP,
            n_series=n_series,
            pull=self.pull,
            judge=self.judge,
            not_yet=lambda at: at > present_ms,
        )
        assert batch.timestamps[0] == start_ms
        return start_ms, int(batch.timestamps[-1])

    @property
    def steps(self) -> list[int]:
        """Every step that was judged, in seconds."""
        return [at // STEP for start, end in self.judged for at in range(start, end + 1, STEP)]


def few(_: int) -> frozenset[str]:
    return frozenset({"a", "b"})


async def test_a_step_and_a_short_outage_are_one_part() -> None:
    for end in (1, 40):
        past = Past(few)
        assert await past.caught_up(end * STEP) == (STEP, end * STEP)
        assert (past.pulled, past.judged) == ([(STEP, end * STEP)], [])


async def test_a_long_one_is_judged_in_parts_of_so_many_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed, "POINTS_AT_ONCE", 8)
    past = Past(few)
    assert await past.caught_up(10 * STEP, n_series=2) == (9 * STEP, 10 * STEP)
    assert past.judged == [(1 * STEP, 4 * STEP), (5 * STEP, 8 * STEP)]
    assert await Past(few).caught_up(3 * STEP, n_series=100) == (3 * STEP, 3 * STEP), "a step at least"


async def test_series_that_came_and_went_are_judged_a_few_steps_at_a_time() -> None:
    past = Past(lambda at: frozenset({f"{at}a", f"{at}b"}))
    start_ms, end_ms = await past.caught_up(64 * STEP)
    assert end_ms == 64 * STEP
    assert past.steps == list(range(1, start_ms // STEP)), "none is left out, none is judged twice"


async def test_moments_of_too_many_that_are_over_are_left_out() -> None:
    wild = frozenset(map(str, range(99)))
    past = Past(lambda at: wild if 3 <= at // STEP <= 5 else few(at))
    start_ms, _ = await past.caught_up(500 * STEP)
    assert [*past.steps, *range(start_ms // STEP, 501)] == [1, 2, *range(6, 501)]
    assert len(past.pulled) < 40, "what comes after them is pulled in large parts again"


async def test_too_many_now_are_asked_for_twice_and_refused() -> None:
    past = Past(lambda _: frozenset(map(str, range(99))))
    with pytest.raises(TooManySeries):
        await past.caught_up(50 * STEP)
    assert past.pulled == [(STEP, 50 * STEP), (50 * STEP, 50 * STEP)]
    with pytest.raises(TooManySeries):
        await past.caught_up(STEP)


async def test_nothing_beyond_the_sources_present_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missed, "POINTS_AT_ONCE", 4)
    past = Past(few)
    await past.caught_up(20 * STEP, present_ms=9 * STEP)
    assert past.steps == list(range(1, 9))


class Churning(Source):
    """Two series that have other names in every minute, and a bound of a hundred."""

    def _answer(self, times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> SeriesBatch:
        self._clock.observe(self.now)
        if 2 * len(times) > 100:
            raise TooManySeries("up", 2 * len(times), 100)
        labels = tuple(LabelSet({"pod": f"{at}{name}"}) for at in times.tolist() for name in "ab")
        values = np.kron(np.eye(len(times)), np.ones((2, 1)))
        return SeriesBatch("up", labels, times, np.where(values > 0, 1.0, np.nan))


async def test_a_query_whose_pods_come_and_go_is_not_blind_after_an_outage(tmp_path: Path) -> None:
    source, make = source_and_watches(tmp_path)
    watch = make()
    await watch.prepare()
    source.__class__ = Churning
    source.now += 100 * 60
    assert await watch.step()
    assert watch.judged_ms == round(source.now) * 1000 // 60_000 * 60_000
