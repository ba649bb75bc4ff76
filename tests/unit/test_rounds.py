"""Rounds that go on whatever becomes of one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, Counter
from structlog.testing import capture_logs

from sidecar.errors import StoreError
from sidecar.rounds import Rounds

FULL = StoreError("the disk is full")


def rounds_of(outcomes: list[Exception | None], registry: CollectorRegistry | None = None) -> Rounds:
    left: Iterator[Exception | None] = iter(outcomes)

    async def work() -> None:
        outcome = next(left)
        if outcome is not None:
            raise outcome

    cycles = Counter("rounds", "Rounds.", ["result"], registry=registry) if registry else None
    return Rounds("test", work, pause=lambda: 60.0, undone="not done", cycles=cycles)


@pytest.mark.parametrize(
    ("outcomes", "told", "last_error"),
    [
        pytest.param([None], [], None, id="well"),
        pytest.param([FULL, FULL], ["warning"], "the disk is full", id="the same failure is told once"),
        pytest.param(
            [FULL, None, FULL], ["warning", "warning"], "the disk is full", id="and again after a success"
        ),
        pytest.param([KeyError("x"), None], ["error"], None, id="a defect is told with its trace"),
    ],
)
async def test_a_failed_round_is_told_and_the_next_is_done(
    outcomes: list[Exception | None], told: list[str], last_error: str | None
) -> None:
    registry = CollectorRegistry()
    rounds = rounds_of(outcomes, registry)
    with capture_logs() as logs:
        for _ in outcomes:
            await rounds.once()
    assert [entry["log_level"] for entry in logs] == told
    assert all(entry["event"] == "not done, will try again" for entry in logs)
    assert rounds.last_error == last_error
    for result, n in (("ok", outcomes.count(None)), ("error", len(outcomes) - outcomes.count(None))):
        assert (registry.get_sample_value("rounds_total", {"result": result}) or 0.0) == n


async def test_it_is_woken_before_its_pause_is_over_and_stops_in_the_middle() -> None:
    begun: asyncio.Queue[None] = asyncio.Queue()

    async def work() -> None:
        begun.put_nowait(None)

    rounds = Rounds("test", work, pause=lambda: 3600.0, undone="not done")
    assert not rounds.started
    rounds.start()
    async with asyncio.timeout(5):
        await begun.get()
        rounds.wake()
        await begun.get()
    await rounds.stop()
    assert rounds.started


async def test_the_first_round_may_have_to_wait() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()

    rounds = Rounds("test", work, pause=lambda: 3600.0, undone="not done")
    rounds.start(after_seconds=3600.0)
    for _ in range(9):
        await asyncio.sleep(0)
    assert not begun.is_set()
    await rounds.stop()
