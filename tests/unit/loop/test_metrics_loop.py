"""The metrics loop goes on through failures, tells each of them once, and saves what was learnt."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from sidecar.config.model import QueryConfig
from sidecar.errors import PullError, PullReason, SidecarError, TooManySeries
from sidecar.loop import metrics_loop
from sidecar.loop.clock import SourceClock
from sidecar.loop.metrics import LoopMetrics
from sidecar.loop.metrics_loop import MetricsLoop
from sidecar.loop.watch import Watch

DOWN = PullError(PullReason.UNREACHABLE, "connection refused")
QUERY = QueryConfig(name="up", expr="up").model_copy(update={"step": 0.01})


class Script:
    """A watch, or a proposal, that does what is written down; `done` is set when all was."""

    def __init__(self, outcomes: Sequence[Exception | None]) -> None:
        self.query, self.ready, self.saves = QUERY, True, 0
        self.retired = False
        self.took_over: object = None
        self._outcomes = list(outcomes)
        self.done = asyncio.Event()

    async def prepare(self) -> None:
        """Nothing to learn."""

    async def step(self) -> bool:
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if not self._outcomes:
            self.done.set()
        if outcome is not None:
            raise outcome
        return True

    async def checkpoint(self) -> None:
        self.saves += 1

    def retire(self) -> None:
        self.retired = True

    def take_over(self, before: Watch) -> None:
        self.took_over = id(before)


def loop_of(watch: Script, registry: CollectorRegistry, propose: Any = None) -> MetricsLoop:
    return MetricsLoop(
        () if propose else (QUERY,),
        make_watch=lambda _: cast(Watch, watch),
        propose=propose,
        clock=SourceClock(),
        metrics=LoopMetrics(registry),
        snapshot_interval_seconds=0.0,
    )


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        pytest.param(None, 5.0, id="another defect"),
        pytest.param(PullError(PullReason.TIMEOUT, "", retryable=True), 5.0, id="may do better soon"),
        pytest.param(PullError(PullReason.CIRCUIT_OPEN, "", retryable=True), 5.0, id="nobody is asked"),
        pytest.param(PullError(PullReason.BAD_QUERY, ""), 60.0, id="refused"),
        pytest.param(TooManySeries("up", 10**6, 100), 60.0, id="a million series each time"),
    ],
)
def test_a_query_without_a_model_is_tried_again_soon_where_that_is_of_use(
    failure: SidecarError | None, seconds: float
) -> None:
    assert metrics_loop.pause(60.0, failure) == seconds
    assert metrics_loop.pause(2.0, failure) == 2.0


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        pytest.param([None, None], [], id="well"),
        pytest.param([DOWN, DOWN, DOWN, None], ["warning", "info"], id="an outage is told once, and its end"),
        pytest.param([KeyError("x"), KeyError("x"), None], ["error", "info"], id="a defect as well"),
        pytest.param([DOWN, KeyError("x"), None], ["warning", "error", "info"], id="another failure anew"),
    ],
)
async def test_failures_are_told_once_and_counted_each_time(
    outcomes: list[Exception | None], told: list[str]
) -> None:
    registry = CollectorRegistry()
    watch = Script([*outcomes, None])
    loop = loop_of(watch, registry)
    with capture_logs() as logs:
        loop.start()
        async with asyncio.timeout(20):
            await watch.done.wait()
        await loop.stop()
    assert [entry["log_level"] for entry in logs] == told
    labels = {"query": "up", "result": "error"}
    n_failed = sum(outcome is not None for outcome in outcomes)
    assert (registry.get_sample_value("pronoia_evaluations_total", labels) or 0) == n_failed
    assert loop.last_error is None
    assert watch.saves


async def test_an_outage_is_told_once_whatever_its_words_and_however_many_wait() -> None:
    away = [
        PullError(reason, f"/api/v1/query{path}: connection refused")
        for path in ("", "_range")
        for reason in (PullReason.UNREACHABLE, PullReason.CIRCUIT_OPEN)
    ]
    queries = [QUERY.model_copy(update={"name": f"q{n}"}) for n in range(3)]
    scripts = [Script([*away, *away, None, None, None]) for _ in queries]
    for script, query in zip(scripts, queries, strict=True):
        script.query = query
    made = iter(scripts)
    loop = MetricsLoop(
        queries,
        make_watch=lambda _: cast(Watch, next(made)),
        propose=cast(Any, None),
        clock=SourceClock(),
        metrics=LoopMetrics(CollectorRegistry()),
        snapshot_interval_seconds=3600.0,
    )
    together = asyncio.Barrier(len(scripts))
    for script in scripts:
        script.step = in_turn(script.step, together)  # type: ignore[method-assign]
    with capture_logs() as logs:
        loop.start()
        async with asyncio.timeout(20):
            await asyncio.gather(*(script.done.wait() for script in scripts))
        await loop.stop()
    assert [entry["event"] for entry in logs] == [
        "source not reached, missed steps will be caught up",
        "source answers again",
    ]
    assert loop.errors == {}


def in_turn(step: Callable[[], Awaitable[bool]], together: asyncio.Barrier) -> Callable[[], Awaitable[bool]]:
    """The step, once all have come to theirs."""

    async def stepped() -> bool:
        await together.wait()
        return await step()

    return stepped


async def test_a_proposal_is_asked_for_until_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_loop, "RETRY_SECONDS", 0.0)
    answers: list[Any] = [DOWN, DOWN, ValueError("not foreseen"), [], [], [QUERY]]

    async def propose(watched: Sequence[QueryConfig]) -> Sequence[QueryConfig]:
        assert not watched
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return cast(Sequence[QueryConfig], answer)

    watch = Script([None])
    loop = loop_of(watch, CollectorRegistry(), propose)
    with capture_logs() as logs:
        loop.start()
        async with asyncio.timeout(20):
            await watch.done.wait()
        await loop.stop()
    assert [entry["log_level"] for entry in logs] == ["warning", "error", "info", "info"]
    assert logs[-1]["event"] == "source answers again"
    assert loop.queries == [QUERY]


async def test_what_comes_after_the_first_proposal_is_watched_beside_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Prometheus that began with us had scraped nearly nothing when it was asked first."""
    monkeypatch.setattr(metrics_loop, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(metrics_loop, "LOOK_AGAIN_SECONDS", (0.0, 0.0))
    more = QUERY.model_copy(update={"name": "more"})
    answers: list[Any] = [[QUERY], DOWN, [], [more]]
    asked_beside: list[list[str]] = []

    async def propose(watched: Sequence[QueryConfig]) -> Sequence[QueryConfig]:
        if not answers:
            await asyncio.Event().wait()
        asked_beside.append([query.name for query in watched])
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return cast(Sequence[QueryConfig], answer)

    watches = {"up": Script([None]), "more": Script([None])}
    watches["more"].query = more
    loop = MetricsLoop(
        (),
        make_watch=lambda query: cast(Watch, watches[query.name]),
        propose=propose,
        clock=SourceClock(),
        metrics=LoopMetrics(CollectorRegistry()),
        snapshot_interval_seconds=3600.0,
    )
    with capture_logs() as logs:
        loop.start()
        async with asyncio.timeout(20):
            await watches["more"].done.wait()
        await loop.stop()
    assert asked_beside == [[], ["up"], ["up"], ["up"]]
    assert loop.queries == [QUERY, more]
    assert loop.last_error is None
    assert [entry["log_level"] for entry in logs] == ["warning", "info", "info"]


async def test_what_is_proposed_anew_takes_the_place_of_the_one_of_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_loop, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(metrics_loop, "LOOK_AGAIN_SECONDS", (0.0, 0.0))
    split = QUERY.model_copy(update={"expr": f"sum by (job) ({QUERY.expr})"})
    answers = [[QUERY], [split]]

    async def propose(_: Sequence[QueryConfig]) -> Sequence[QueryConfig]:
        if not answers:
            await asyncio.Event().wait()
        return answers.pop(0)

    watches = {QUERY.expr: Script([None]), split.expr: Script([None])}
    watches[split.expr].query = split
    loop = MetricsLoop(
        (),
        make_watch=lambda query: cast(Watch, watches[query.expr]),
        propose=propose,
        clock=SourceClock(),
        metrics=LoopMetrics(CollectorRegistry()),
        snapshot_interval_seconds=3600.0,
    )
    loop.start()
    async with asyncio.timeout(20):
        await watches[split.expr].done.wait()
    assert loop.queries == [split]
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert names.count(f"watch-{QUERY.name}") == 1
    await loop.stop()


async def test_a_model_that_cannot_be_saved_does_not_keep_the_others_from_it() -> None:
    class Broken(Script):
        async def checkpoint(self) -> None:
            raise KeyError("x")

    watches = [Broken([None]), Script([None])]
    made = iter(watches)
    loop = MetricsLoop(
        (QUERY, QUERY),
        make_watch=lambda _: cast(Watch, next(made)),
        propose=cast(Any, None),
        clock=SourceClock(),
        metrics=LoopMetrics(CollectorRegistry()),
        snapshot_interval_seconds=3600.0,
    )
    with capture_logs() as logs:
        loop.start()
        async with asyncio.timeout(20):
            await asyncio.gather(*(watch.done.wait() for watch in watches))
        await loop.stop()
    assert [watch.saves for watch in watches] == [0, 1]
    assert [entry["log_level"] for entry in logs] == ["error"]


@pytest.mark.parametrize("n_reloads", [1, 3])
async def test_what_is_proposed_no_more_is_retired_as_soon_as_that_is_known(n_reloads: int) -> None:
    """Before the source has answered, a reload takes nothing off the page: the same may be proposed again."""
    answers: asyncio.Queue[list[QueryConfig]] = asyncio.Queue()
    kept, gone = Script([None]), Script([None])
    gone.query = QUERY.model_copy(update={"name": "gone"})
    before = [cast(Watch, kept), cast(Watch, gone)]
    watch = Script([None])

    def reloaded() -> MetricsLoop:
        return MetricsLoop(
            (),
            make_watch=lambda _: cast(Watch, watch),
            propose=lambda _: answers.get(),
            clock=SourceClock(),
            metrics=LoopMetrics(CollectorRegistry()),
            snapshot_interval_seconds=3600.0,
            before=before,
        )

    for n in range(n_reloads):
        loop = reloaded()
        loop.start()
        await asyncio.sleep(0)
        before = loop.shown
        if n < n_reloads - 1:
            await loop.stop()
    assert not gone.retired
    answers.put_nowait([QUERY])
    async with asyncio.timeout(20):
        await watch.done.wait()
    await loop.stop()
    assert (kept.retired, gone.retired) == (False, True)
    assert watch.took_over == id(kept)
    assert loop.shown == [cast(Watch, watch)]


async def test_what_was_watched_before_is_given_back_once_it_is_known_what_is_watched_now() -> None:
    """Also where that is proposed: its parts refer to each other, and the collector seldom comes by."""
    answers: asyncio.Queue[list[QueryConfig]] = asyncio.Queue()
    old, new = Script([None]), Script([None])
    old.itself = old  # type: ignore[attr-defined]
    held = weakref.ref(old)
    loop = MetricsLoop(
        (),
        make_watch=lambda _: cast(Watch, new),
        propose=lambda _: answers.get(),
        clock=SourceClock(),
        metrics=LoopMetrics(CollectorRegistry()),
        snapshot_interval_seconds=3600.0,
        before=[cast(Watch, old)],
    )
    del old
    gc.disable()
    try:
        loop.start()
        answers.put_nowait([QUERY])
        async with asyncio.timeout(20):
            await new.done.wait()
        assert held() is None
    finally:
        gc.enable()
        await loop.stop()


async def test_what_is_wrong_with_one_query_stands_while_others_are_well() -> None:
    ill, well = Script([DOWN] * 3), Script([None] * 50)
    ill.query = QUERY.model_copy(update={"name": "ill", "step": 0.1})
    made = iter([well, ill])
    loop = MetricsLoop(
        (QUERY, ill.query),
        make_watch=lambda _: cast(Watch, next(made)),
        propose=cast(Any, None),
        clock=SourceClock(),
        metrics=LoopMetrics(CollectorRegistry()),
        snapshot_interval_seconds=3600.0,
    )
    seen: list[tuple[str | None, dict[str, str]]] = []
    step = well.step

    async def look() -> bool:
        seen.append((loop.last_error, dict(loop.errors)))
        return await step()

    well.step = look  # type: ignore[method-assign]
    loop.start()
    async with asyncio.timeout(20):
        await asyncio.gather(ill.done.wait(), well.done.wait())
    await loop.stop()
    wrong = [error is not None for error, _ in seen]
    assert (str(DOWN), {"ill": str(DOWN)}) in seen
    assert all(wrong[wrong.index(True) : len(wrong) - wrong[::-1].index(True)]), "the others' success hid it"


async def test_a_loop_that_cannot_begin_says_so() -> None:
    def make_watch(_: QueryConfig) -> Watch:
        raise AttributeError("nobody foresaw this")

    loop = loop_of(Script([]), CollectorRegistry())
    loop._make_watch = make_watch
    with capture_logs() as logs:
        loop.start()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await loop.stop()
    (told,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert told["component"] == "metrics-loop"
    assert told["event"].startswith("the loop has ended")
