"""Budgets of objectives: read once, renewed each hour, whatever the source does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from structlog.testing import capture_logs

from sidecar.config.known import EventConfig
from sidecar.config.slo import SloConfig
from sidecar.engine.forecast import budget
from sidecar.engine.forecast.eta import Crossing
from sidecar.errors import PullError, PullReason
from sidecar.loop.clock import SourceClock
from sidecar.loop.forecast_budgets import Budgets
from sidecar.loop.forecast_rules import About, KnownOf, Measured, nothing_known
from sidecar.offload import Offload
from sidecar.series import LabelSet, SeriesBatch

NOW = 1_800_000_000
SLO = SloConfig(
    name="api",
    objective=0.999,
    errors='sum(rate(requests_total{code=~"5.."}[$window]))',
    total="sum(rate(requests_total[$window]))",
)


class Source:
    """Hundred requests a second, of which since twelve hours one in fifty fails."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.broken = False
        self.labels: tuple[LabelSet, ...] = (LabelSet(),)
        self.on_asked: Callable[[], None] = lambda: None

    async def history(
        self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, name: str, max_series: int
    ) -> SeriesBatch:
        if self.broken:
            raise PullError(PullReason.UNREACHABLE, "gone")
        assert "[1h]" in expr
        times = np.arange(-(-start_ms // step_ms) * step_ms, end_ms + 1, step_ms, dtype=np.int64)
        self.asked.append(len(times))
        self.on_asked()
        values = np.full(len(times), 100.0)
        if "5.." in expr:
            values = np.where(times / 1000 > NOW - 12 * 3600, 2.0, 0.005)
        return SeriesBatch(name, self.labels, times, np.tile(values, (len(self.labels), 1)))

    instant = range = None  # type: ignore[assignment]


@pytest.fixture
def clock() -> list[float]:
    return [float(NOW)]


def budgets(source: Source, clock: list[float], known_of: KnownOf = nothing_known) -> Budgets:
    return Budgets(
        [SLO],
        source=source,  # type: ignore[arg-type]
        offload=Offload(1),
        clock=SourceClock(lambda: clock[0]),
        horizon_seconds=7 * 86400.0,
        probabilities=(0.5,),
        known_of=known_of,
    )


async def test_the_end_of_a_budget_is_told_and_the_window_is_read_once(clock: list[float]) -> None:
    source = Source()
    one = budgets(source, clock)
    (eta,) = await one.renew()
    assert (eta.rule, eta.threshold, eta.probability) == ("apiBudgetSpent", "> 1", 0.5)
    # Twenty times the allowed rate spends the month in 36 hours, of which twelve have passed.
    assert eta.seconds == pytest.approx(23 * 3600, rel=0.25)
    assert await one.renew() == [eta]
    assert source.asked == [721, 721]
    clock[0] += 3600
    await one.renew()
    assert source.asked[2:] == [1, 1]


async def test_what_was_known_stays_while_the_source_is_gone(clock: list[float]) -> None:
    source = Source()
    one = budgets(source, clock)
    before = await one.renew()
    clock[0] += 3600
    source.broken = True
    assert await one.renew() == before


async def test_a_release_of_what_the_objective_counts_ends_its_budget_sooner(clock: list[float]) -> None:
    start = datetime.fromtimestamp(NOW + 3600, UTC)
    release = EventConfig(name="album", start=start, duration=86400.0, uplift=3.0)
    asked: list[Measured] = []

    def known_of(measured: Measured) -> About:
        asked.append(measured)
        return (release,), None

    (usual,) = await budgets(Source(), clock).renew()
    (sooner,) = await budgets(Source(), clock, known_of).renew()
    # An hour at the usual burn, and what is left three times as fast.
    assert sooner.seconds == pytest.approx(3600 + (usual.seconds - 3600) / 3, rel=0.2)
    assert asked[0].metrics == ("requests_total",)


async def test_a_budget_that_cannot_be_read_for_hours_is_no_longer_told(clock: list[float]) -> None:
    source = Source()
    one = budgets(source, clock)
    await one.renew()
    source.broken = True
    told = []
    for _ in range(4):
        clock[0] += 3600
        told.append(len(await one.renew()))
    assert told == [1, 1, 0, 0]
    source.broken = False
    assert len(await one.renew()) == 1


async def test_series_that_are_gone_are_not_told_of_and_make_room(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    crossing = Crossing(np.array([600.0]), np.array([1.0]))
    monkeypatch.setattr(budget, "budget_crossing", lambda *_, **__: crossing)
    source = Source()
    one = budgets(source, clock)
    for round_, pause in enumerate((31 * 86400, 31 * 86400, 2 * 3600, 3600, 0)):
        # Each month it is told by other pods, and at last by one alone.
        n = 51 if round_ < 3 else 1
        source.labels = tuple(LabelSet({"pod": f"{min(round_, 3)}-{at}"}) for at in range(n))
        told = {eta.labels["pod"].partition("-")[0] for eta in await one.renew()}
        clock[0] += pause
        assert told <= {str(min(round_, 3)), "2"}
    assert told == {"3"}


async def test_an_hour_of_the_sources_future_is_read_when_it_has_come(clock: list[float]) -> None:
    source = Source()
    one = budgets(source, clock)
    await one.renew()
    one._clock.observe(clock[0] + 86400)
    source.on_asked = lambda: one._clock.observe(clock[0])
    await one.renew()
    clock[0] += 3600
    source.asked.clear()
    assert len(await one.renew()) == 1
    assert source.asked == [1, 1]


async def test_an_objective_that_cannot_be_forecast_leaves_the_others(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(*_: object, **settings: float) -> Crossing:
        if settings["objective"] == 0.9:
            raise ValueError("nobody foresaw this")
        return Crossing(np.array([600.0]), np.array([1.0]))

    monkeypatch.setattr(budget, "budget_crossing", odd)
    one = budgets(Source(), clock)
    one._slos = [SLO.model_copy(update={"name": "odd", "objective": 0.9}), SLO]
    with capture_logs() as logs:
        for _ in range(2):
            assert [eta.rule for eta in await one.renew()] == ["apiBudgetSpent"]
            clock[0] += 3600
    assert [one["slo"] for one in logs if one["event"] == "objective not forecast"] == ["odd", "odd"]


async def test_objectives_on_the_same_events_keep_their_own_windows(clock: list[float]) -> None:
    week = SLO.model_copy(update={"name": "week", "window": 7 * 86400.0})
    one = budgets(Source(), clock)
    alone = await one.renew()
    both = budgets(Source(), clock)
    both._slos = [SLO, week]
    for _ in range(2):
        assert [eta for eta in await both.renew() if eta.rule == "apiBudgetSpent"] == alone
        clock[0] += 3600
        alone = await one.renew()
