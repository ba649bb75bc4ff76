"""A watched query on a source whose clock is not always right."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from sidecar.config.business import BusinessConfig, DeploymentsConfig, TrafficConfig
from sidecar.config.model import QueryConfig
from sidecar.errors import PullError, PullReason, TooManySeries
from sidecar.events import EventBus
from sidecar.loop.clock import SourceClock
from sidecar.loop.metrics import LoopMetrics
from sidecar.loop.watch import Watch
from sidecar.offload import Offload
from sidecar.ports import Sink
from sidecar.series import Evaluation, LabelSet, SeriesBatch

QUERY = QueryConfig(name="up", expr="up", step="1m", history="2h", offset="0s")  # type: ignore[arg-type]
NOON = 1_750_000_000.0 // 60 * 60
LABELS = (LabelSet({"job": "a"}), LabelSet({"job": "b"}))


class Source:
    """Answers for any time, and tells its own, which `shift` makes wrong."""

    def __init__(self, clock: SourceClock) -> None:
        self.now, self.shift = NOON, 0.0
        self.warnings: tuple[str, ...] = ()
        self.added = 0.0
        self._clock = clock
        self.n_read = self.n_at_once = self.most_at_once = 0

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
        self.n_at_once += 1
        self.most_at_once = max(self.most_at_once, self.n_at_once)
        await asyncio.sleep(0.01)
        self.n_at_once -= 1
        return await self.range(
            expr, start_ms=start_ms, end_ms=end_ms, step_ms=step_ms, name=name, max_series=max_series
        )

    def _answer(self, times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> SeriesBatch:
        self._clock.observe(self.now + self.shift)
        minutes = times / 60_000.0
        return SeriesBatch(
            "up", LABELS, times, np.stack([np.sin(minutes), np.cos(minutes)]) + 5 + self.added, self.warnings
        )


def source_and_watches(tmp_path: Path) -> tuple[Source, Callable[..., Watch]]:
    """A source, and what makes watches of it: `make(*sinks, query=…, **Watch's)`."""
    clock = SourceClock(lambda: source.now)
    source = Source(clock)

    def make(*sinks: Sink, query: QueryConfig = QUERY, **settings: Any) -> Watch:
        return Watch(
            query,
            source=source,
            sinks=sinks,
            bus=EventBus(),
            offload=Offload(2),
            clock=clock,
            metrics=LoopMetrics(CollectorRegistry()),
            directory=tmp_path,
            max_series=100,
            now=lambda: source.now,
            **settings,
        )

    return source, make


@pytest.fixture
def bench(tmp_path: Path) -> tuple[Source, Callable[..., Watch]]:
    return source_and_watches(tmp_path)


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
    bench: tuple[Source, Callable[..., Watch]], ahead: float, n_read: int, restarted: bool
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


class Wrong:
    """Answers of a source that has nothing of its future yet."""

    def __init__(self, source: Source) -> None:
        self._source, self._answer = source, source._answer

    def __call__(self, times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> SeriesBatch:
        found = self._answer(times)
        found.values[:, times > self._source.now * 1000] = np.nan
        return found


@pytest.mark.parametrize("whose", ["the server's", "ours"])
@pytest.mark.parametrize("wrong", [600.0, 1800.0, 86400.0, -600.0, -86400.0])
async def test_a_clock_that_is_wrong_for_one_answer_costs_nothing(
    bench: tuple[Source, Callable[..., Watch]], whose: str, wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, make = bench
    watch = make()
    await watch.prepare()
    assert await judged_after(watch, source, 3) == 0
    monkeypatch.setattr(source, "_answer", Wrong(source))
    clock = source._clock
    if whose == "ours":
        monkeypatch.setattr(clock, "_wall", lambda: source.now + wrong)
    else:
        clock.observe(source.now + wrong)
    source.now += 60
    await watch.step()
    if whose == "ours":
        monkeypatch.setattr(clock, "_wall", lambda: source.now)
        source.now += 60
        await watch.step()

    assert await judged_after(watch, source, 1) == 0
    assert source.n_read == 1, "learnt once"
    assert watch.evaluation is not None
    assert np.isfinite(watch.evaluation.actual).all()


async def test_one_replica_with_a_clock_of_its_own_does_not_have_a_query_learnt_anew(
    bench: tuple[Source, Callable[..., Watch]],
) -> None:
    source, make = bench
    watch = make()
    await watch.prepare()
    await judged_after(watch, source, 3)
    # Of two behind one address, one is two hours late; which of them answers is chance.
    chance = np.random.default_rng(1)
    answer = source._answer

    def one_of_two(times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> SeriesBatch:
        source.shift = -7200.0 * chance.integers(0, 2)
        return answer(times)

    source._answer = one_of_two  # type: ignore[method-assign]
    for _ in range(60):
        source.now += 60
        await watch.step()
    assert source.n_read == 1
    source.shift = 0.0
    source._answer = answer  # type: ignore[method-assign]
    await watch.step()
    assert await judged_after(watch, source, 1) == 0


async def test_history_ends_with_the_sources_present(
    bench: tuple[Source, Callable[..., Watch]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, make = bench
    monkeypatch.setattr(source._clock, "_wall", lambda: source.now + 1800)
    watch = make()
    await watch.prepare()
    assert await judged_after(watch, source, 1) == 0


class HeldUp:
    """A sink in which a step stays until it is let go; says whether its query was taken out of it."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.shown = False

    def publish(self, _: Evaluation) -> None:
        self.reached.set()
        assert self.go_on.wait(30)
        self.shown = True

    def retire(self, _: str) -> None:
        self.shown = False


async def test_a_step_that_was_broken_off_ends_before_its_model_is_saved_or_retired(
    bench: tuple[Source, Callable[..., Watch]], tmp_path: Path
) -> None:
    source, make = bench
    sink = HeldUp()
    watch = make(sink)
    await watch.prepare()
    (file,) = tmp_path.glob("*.model")
    saved = file.stat().st_mtime_ns
    source.now += 60
    step = asyncio.create_task(watch.step())
    await asyncio.to_thread(sink.reached.wait, 30)

    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    stopping = asyncio.create_task(watch.checkpoint())
    done, _ = await asyncio.wait([stopping], timeout=0.2)
    assert not done, "its thread is still at the model"
    assert file.stat().st_mtime_ns == saved

    sink.go_on.set()
    await asyncio.wait_for(stopping, 30)
    watch.retire()
    assert file.stat().st_mtime_ns > saved
    assert not sink.shown, "shown again after it was taken out"


class Won:
    """A trial that the challenger wins at once, with a file that is too old to go on with."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._over = directory, False

    async def follow(self, *_: object) -> bool:
        before, self._over = self._over, True
        return not before

    async def promote(self) -> None:
        for file in self._directory.glob("*.model"):
            file.unlink()

    def due(self) -> bool:
        return False

    def save(self) -> None:
        return


async def test_a_challenger_that_cannot_be_taken_over_leaves_no_query_without_a_model(
    bench: tuple[Source, Callable[..., Watch]], tmp_path: Path
) -> None:
    source, make = bench
    watch = make(trial=Won(tmp_path))
    await watch.prepare()
    assert await judged_after(watch, source, 3) == 0
    assert source.n_read == 2, "learnt anew"


async def test_a_warning_of_the_source_is_told_when_it_comes_not_at_every_step(
    bench: tuple[Source, Callable[..., Watch]],
) -> None:
    source, make = bench
    watch = make()
    await watch.prepare()
    with capture_logs() as logs:
        for warnings in (("store b is away",), ("store b is away",), (), ("store b is away", "c, too")):
            source.warnings = warnings
            await judged_after(watch, source, 2)
    told = [entry["warning"] for entry in logs if entry["log_level"] == "warning"]
    assert sorted(told) == ["c, too", "store b is away", "store b is away"]


@pytest.mark.parametrize(
    ("warnings", "told"),
    [
        pytest.param(("no store matched for this query",), False, id="a store is away"),
        pytest.param(("PromQL info: metric might not be a counter",), True, id="about the expression"),
        pytest.param(("3 native histogram samples left out",), True, id="about kinds of samples"),
        pytest.param((), True, id="none"),
    ],
)
async def test_who_is_missing_in_a_partial_answer_has_not_stopped(
    bench: tuple[Source, Callable[..., Watch]],
    warnings: tuple[str, ...],
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, make = bench
    watch = make()
    await watch.prepare()
    await judged_after(watch, source, 2)
    answer, gone = source._answer, [True, False]

    def less(times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> SeriesBatch:
        found = answer(times)
        found.values[gone] = np.nan
        return found

    monkeypatch.setattr(source, "_answer", less)
    source.warnings = warnings
    await judged_after(watch, source, 4)
    assert watch.evaluation is not None
    assert (watch.evaluation.absent is not None) == told
    source.warnings = ()
    await judged_after(watch, source, 1)
    assert watch.evaluation.absent is not None, "whole answers say so"
    source.warnings, gone[1] = ("no store matched for this query",), True
    await judged_after(watch, source, 4)
    assert watch.evaluation.absent is not None
    assert watch.evaluation.absent.tolist() == [True, False], "who was told of stays so"


@pytest.mark.parametrize(
    ("error", "judged"),
    [
        pytest.param(TooManySeries("up", 30_000, 20_000), True, id="a deployment too many"),
        pytest.param(PullError(PullReason.BAD_QUERY, "many-to-many matching"), True, id="refused"),
        pytest.param(PullError(PullReason.UNREACHABLE, "refused", retryable=True), False, id="away"),
    ],
)
async def test_what_is_asked_for_beside_the_query_does_not_blind_it(
    bench: tuple[Source, Callable[..., Watch]],
    error: PullError,
    judged: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, make = bench
    instant = source.instant

    async def refusing(expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        if expr != "up":
            raise error
        return await instant(expr, at_ms=at_ms, name=name, max_series=max_series)

    deployed = BusinessConfig(deployments=DeploymentsConfig(expr="deployed"))
    watch = make(query=QUERY.model_copy(update={"counters": "x_total"}), business=deployed)
    await watch.prepare()
    source.now += 60
    assert await watch.step()
    monkeypatch.setattr(source, "instant", refusing)
    with capture_logs() as logs:
        for _ in range(3):
            source.now += 60
            if judged:
                assert await watch.step()
            else:
                with pytest.raises(PullError):
                    await watch.step()
    told = [entry["what"] for entry in logs if entry["event"] == "judged without what is not answered"]
    assert told == (["deployments", "counters"] if judged else [])


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        pytest.param([{"job": "a"}], [], id="of some series"),
        pytest.param([{}], [], id="of all"),
        pytest.param([{"service": "a"}], ['{service="a"}'], id="by other labels"),
        pytest.param([], ["no series"], id="a name that is misspelt"),
    ],
)
async def test_traffic_that_fits_no_series_is_told_of_once(
    bench: tuple[Source, Callable[..., Watch]],
    monkeypatch: pytest.MonkeyPatch,
    labels: list[dict[str, str]],
    told: list[str],
) -> None:
    """Nothing is flagged without traffic: a query would be blind and look well."""
    source, make = bench
    usual = source.instant

    async def answering(expr: str, *, at_ms: int, **kinds: Any) -> SeriesBatch:
        if expr != "requests":
            return await usual(expr, at_ms=at_ms, **kinds)
        found = tuple(map(LabelSet, labels))
        return SeriesBatch("up", found, np.array([at_ms], dtype=np.int64), np.full((len(found), 1), 1e3))

    traffic = TrafficConfig(expr="requests", min_events=20)
    watch = make(query=QUERY.model_copy(update={"traffic": traffic}))
    await watch.prepare()
    monkeypatch.setattr(source, "instant", answering)
    with capture_logs() as logs:
        await judged_after(watch, source, 3)
    found = [entry for entry in logs if entry["event"].startswith("no series has traffic")]
    assert [entry["traffic"] for entry in found] == told


async def test_a_model_that_cannot_be_saved_is_told_of_once_and_when_it_is(
    bench: tuple[Source, Callable[..., Watch]], tmp_path: Path
) -> None:
    source, make = bench
    in_the_way = tmp_path / "up.model"
    in_the_way.mkdir()
    watch = make()
    with capture_logs() as logs:
        await watch.prepare()
        for n in range(4):
            if n == 2:
                in_the_way.rmdir()
            await judged_after(watch, source, 1)
            await watch.checkpoint()
    told = [entry["event"] for entry in logs if entry["event"].startswith("model ")]
    assert told == ["model not saved, will try again", "model saved again"]


async def test_no_more_pasts_are_read_than_are_learnt_from(
    bench: tuple[Source, Callable[..., Watch]],
) -> None:
    """Reading is faster than learning: the pasts of a hundred queries would wait in memory."""
    source, make = bench
    slots = asyncio.Semaphore(2)
    await asyncio.gather(*(make(slots=slots).prepare() for _ in range(6)))
    assert source.n_read == 6
    assert source.most_at_once == 2


@pytest.mark.parametrize("before", [True, False])
async def test_a_query_that_matches_nothing_says_so_once(
    bench: tuple[Source, Callable[..., Watch]], before: bool
) -> None:
    source, make = bench
    source.added = 0.0 if before else np.nan
    watch = make()
    with capture_logs() as logs:
        await watch.prepare()
        source.added = np.nan
        await judged_after(watch, source, 3)
    (told,) = [entry for entry in logs if "no series match" in entry["event"]]
    assert told["expr"] == "up"
    assert ("some did" in told["event"]) == before
