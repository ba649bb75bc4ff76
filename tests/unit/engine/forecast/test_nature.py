"""Counters and percentages are known for what they are, in files, live and before thresholds."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.forecast.crossing import Threshold
from sidecar.engine.forecast.eta import crossing, within_reach
from sidecar.engine.forecast.limits import SeenLimits
from sidecar.engine.forecast.live import PoolForecaster
from sidecar.engine.forecast.nature import NaturalSelection, nature_of
from sidecar.engine.forecast.pool import PoolForecast, select
from sidecar.series import FloatArray, LabelSet, SeriesBatch

STEP = 300
DAY = 288
START = 1_790_000_100


def counter(n: int, reset_every: int = 4 * DAY) -> FloatArray:
    """Counts some tens a step, from nothing again after each reset."""
    steps = np.random.default_rng(2).poisson(30, n).astype(np.float64)
    parts = [np.cumsum(steps[at : at + reset_every]) for at in range(0, n, reset_every)]
    return np.concatenate(parts)


def busy(n: int, top: float = 100.0) -> FloatArray:
    """A percentage that stands at its top each noon."""
    at = np.arange(n) * 2.0 * np.pi / DAY
    noise = np.random.default_rng(3).normal(0.0, 2.0, n)
    return np.clip(75.0 + 35.0 * np.sin(at) + noise, 0.0, 100.0) * (top / 100.0)


@pytest.mark.parametrize(
    ("grid", "kind", "floor", "ceiling"),
    [
        pytest.param(counter(2000), "counter", 0.0, np.inf, id="counter"),
        pytest.param(np.cumsum(np.ones(50)), "growing", 0.0, np.inf, id="never fell"),
        pytest.param(
            np.r_[np.arange(98.0), [100.0] * 9], "growing", 0.0, np.inf, id="a count that is at 100"
        ),
        pytest.param(
            np.r_[np.arange(98.0) + 0.5, [100.0] * 9], "growing", 0.0, 100.0, id="a disk that is full"
        ),
        pytest.param(busy(2000), "usual", 0.0, 100.0, id="percentage"),
        pytest.param(busy(2000, 1.0), "usual", 0.0, 1.0, id="share"),
        pytest.param(busy(2000) - 50.0, "usual", -np.inf, np.inf, id="below zero"),
        pytest.param(np.array([1.0, 2.0, np.nan, 3.0]), "usual", 0.0, np.inf, id="too few to tell"),
    ],
)
def test_the_nature_of_a_series(grid: FloatArray, kind: str, floor: float, ceiling: float) -> None:
    found = nature_of(grid)
    assert (found.kind, found.floor, found.ceiling) == (kind, floor, ceiling)


def test_a_counter_without_its_resets_only_grows_and_its_forecast_begins_where_it_stands() -> None:
    grid = counter(2000)
    found = nature_of(grid)
    assert (np.diff(found.grid) >= 0.0).all()
    falling = np.linspace(found.grid[-1], found.grid[-1] - 50.0, 10)
    told = found.told(PoolForecast(falling, falling - 1.0, falling + 1.0))
    assert told.yhat == pytest.approx(grid[-1])
    assert (told.lower <= told.yhat).all()
    assert (told.yhat <= told.upper).all()


def batch(values: FloatArray, first: int, end: int) -> SeriesBatch:
    times = (START + np.arange(first, end, dtype=np.int64) * STEP) * 1000
    labels = tuple(LabelSet({"i": str(i)}) for i in range(len(values)))
    return SeriesBatch("q", labels, times, values[:, first:end])


def live(values: FloatArray, *, work: bool) -> PoolForecaster:
    forecaster = PoolForecaster((3600.0, 86400.0), STEP, clock=lambda: 0.0)
    forecaster.resize(len(values))
    forecaster.update(batch(values, 0, values.shape[1]))
    while work and forecaster.work(1.0):
        pass
    return forecaster


@pytest.mark.parametrize("work", [pytest.param(True, id="pool"), pytest.param(False, id="online alone")])
def test_live_a_percentage_is_not_forecast_beyond_its_top_nor_below_zero(work: bool) -> None:
    values = np.stack([busy(5 * DAY + 70), busy(5 * DAY + 70, 1.0), 2.0 * busy(5 * DAY + 70)])
    found = live(values, work=work).predict()
    for forecast in found:
        assert (forecast.upper <= [100.0, 1.0, np.inf]).all()
        assert (forecast.lower >= 0.0).all()
        assert (forecast.lower <= forecast.yhat).all()
        assert (forecast.yhat <= forecast.upper).all()
    assert found[-1].upper[2] > 200.0


def test_live_a_counter_goes_on_from_where_it_stands_whatever_resets_it_had() -> None:
    n = 9 * DAY
    values = counter(n + DAY, reset_every=4 * DAY)
    found = live(values[None, :n], work=True).predict()[-1]
    assert values[n - 1] <= found.lower[0] <= found.yhat[0]
    assert found.yhat[0] == pytest.approx(values[n - 1] + 30.0 * DAY, rel=0.1)


def test_live_what_was_never_negative_stays_so_where_single_precision_brings_zero_back_as_less() -> None:
    on = (np.arange(4 * DAY) % 36) < 6
    values = np.where(on, 0.1 + np.random.default_rng(1).random(4 * DAY), 0.0)[None]
    values[0, 0] = 0.1
    for forecast in live(values, work=True).predict():
        assert forecast.lower[0] >= 0.0
        assert forecast.yhat[0] >= 0.0


@pytest.mark.parametrize(
    "size", [2.0**64 - 1, 1e6, 1e39, 1.7e308], ids=["wrapped", "a glitch", "1e39", "largest"]
)
def test_live_a_sample_that_is_no_measurement_is_in_no_forecast_after_it(size: float) -> None:
    values = 50.0 + np.random.default_rng(5).normal(0.0, 1.0, (2, 3 * DAY))
    values[1, 200] = size
    for work in (False, True) if size > 1e15 else (True,):
        for forecast in live(values, work=work).predict():
            assert forecast.yhat[1] == pytest.approx(50.0, abs=3.0)
            assert 40.0 < forecast.lower[1] < forecast.upper[1] < 60.0


def test_a_size_that_is_unheard_of_is_believed_when_it_stays() -> None:
    limits = SeenLimits()
    limits.resize(2)
    limits.update(np.array([[5.0], [0.0]]))
    believed = limits.update(np.full((2, 40), 1e18))
    assert np.isnan(believed[:, :30]).all()
    assert (believed[:, 30:] == 1e18).all()
    assert (limits.update(np.full((2, 3), 2e18)) == 2e18).all()


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        pytest.param([500], False, id="once"),
        pytest.param([500, 501, 503], False, id="for some minutes"),
        pytest.param([500, 788], True, id="twice at this time of day"),
        pytest.param(list(range(500, 512)), True, id="for an hour"),
        pytest.param([999], True, id="just now"),
    ],
)
def test_what_was_far_beyond_all_else_once_and_is_over_is_no_part_of_a_series(
    at: list[int], kept: bool
) -> None:
    grid = busy(1000) + 5.0
    grid[at] = 1e5
    found = nature_of(grid).grid
    assert np.isfinite(found[at]).all() == kept
    assert np.isfinite(np.delete(found, at)).all()


def test_a_series_of_zeros_keeps_what_it_once_had() -> None:
    grid = np.zeros(500)
    grid[100] = 3.0
    assert nature_of(grid).grid[100] == 3.0


def test_limits_are_learnt_over_batches_and_widen_with_what_comes() -> None:
    limits = SeenLimits()
    limits.resize(4)
    limits.update(np.array([[90.0, 100.0], [0.2, np.nan], [1.0, 1.0], [np.nan, np.nan]]))
    assert np.isinf(limits.bounds()[1]).all()
    limits.update(np.array([[100.0, 100.0], [1.0, 1.0], [1.0, 1.0], [np.nan, np.nan]]))
    floor, ceiling = limits.bounds()
    assert ceiling.tolist() == [100.0, np.inf, np.inf, np.inf]
    assert floor.tolist() == [0.0, 0.0, 0.0, -np.inf]
    limits.update(np.array([[100.5], [1.0], [-1.0], [np.nan]]))
    floor, ceiling = limits.bounds()
    assert ceiling.tolist() == [np.inf, 1.0, np.inf, np.inf]
    assert floor.tolist() == [0.0, 0.0, -np.inf, -np.inf]


@pytest.mark.parametrize(
    ("value", "ever"),
    [pytest.param(99.0, True, id="before its top"), pytest.param(100.0, False, id="beyond its top")],
)
def test_a_percentage_never_crosses_a_threshold_at_its_top(value: float, ever: bool) -> None:
    grid = busy(5 * DAY)
    ahead = NaturalSelection(select(nature_of(grid).grid, STEP, DAY))
    threshold = Threshold(value, above=True)
    assert within_reach(grid, threshold) == ever
    chance = crossing(grid, STEP, threshold, horizon_seconds=86400.0, ahead=ahead).probability
    assert bool(chance.any()) == ever
