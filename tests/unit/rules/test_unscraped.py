"""A Prometheus that was down for a while: no rule fired then, and nothing is learned of it."""

from __future__ import annotations

import numpy as np
import pytest

from rules.backtest.past import BackTester, Window
from rules.backtest.unscraped import SCRAPED, Unscraped
from rules.read import WrittenRule
from sidecar.errors import PullError, PullReason
from sidecar.series import LabelSet, SeriesBatch

MINUTE = 60_000
WINDOW = Window(0, 1439 * MINUTE, MINUTE)
ABSENT = WrittenRule("Gone", "absent(sessions)", "alerting", for_seconds=300)


class Down:
    """A server on which there is an `up` but at some moments, and sessions while there is."""

    def __init__(self, *down: slice) -> None:
        self.there = np.ones(1440, dtype=bool)
        for each in down:
            self.there[each] = False
        self.n_asked = 0
        self.fails = False

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        raise AssertionError("not asked here")

    async def range(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        times = np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64)
        told = np.where(self.there, np.nan, 1.0)
        if expr == SCRAPED:
            self.n_asked += 1
            if self.fails:
                raise PullError(PullReason.BAD_QUERY, "no")
            told = np.where(self.there, 5.0, np.nan)
        return SeriesBatch(name, (LabelSet(),), times, told[None, :])


async def n_firings(server: Down) -> int:
    return len((await BackTester(Unscraped(server)).one(ABSENT, WINDOW)).firings)


async def test_while_nothing_was_scraped_nothing_fired() -> None:
    server = Down(slice(400, 430))
    assert len((await BackTester(server).one(ABSENT, WINDOW)).firings) == 1
    assert await n_firings(server) == 0


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(Down(slice(0, 100)), id="up came later than the rest"),
        pytest.param(Down(slice(1300, None)), id="it is down, or up is no longer kept"),
        pytest.param(Down(slice(400, 800)), id="missing for too long to be an outage"),
    ],
)
async def test_where_up_does_not_tell_that_the_past_stays_as_it_is(server: Down) -> None:
    assert await n_firings(server) == 1


async def test_it_is_asked_for_once_and_may_be_refused() -> None:
    server = Down(slice(400, 430))
    source = Unscraped(server)
    for _ in range(3):
        await BackTester(source).values("sessions", "Gone", WINDOW)
    assert server.n_asked == 1
    server.fails = True
    assert await n_firings(server) == 1
