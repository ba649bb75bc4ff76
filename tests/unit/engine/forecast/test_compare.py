"""Models side by side: who is dropped, what a budget does, that every library model forecasts."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.forecast import compare
from sidecar.engine.forecast.compare import Case, Standing
from sidecar.engine.forecast.library import LIBRARY, PoolForecast, available, run
from sidecar.errors import ModelError
from sidecar.series import FloatArray

HOUR = 3600.0


def hourly(n_days: int) -> FloatArray:
    at = np.arange(24 * n_days)
    return np.asarray(50 + 10 * np.sin(2 * np.pi * at / 24) + np.random.default_rng(8).normal(0, 1, len(at)))


@pytest.mark.parametrize("name", sorted(available()))
def test_every_model_continues_a_daily_shape_with_an_interval_around_it(name: str) -> None:
    values = hourly(11)
    before = values.copy()
    found = run(name, values[:-24], HOUR, 24, 0.9)
    assert np.array_equal(values, before)
    assert (found.lower <= found.upper).all()
    limit = 12.0 if name == "drift" else 3.0
    assert np.abs(found.yhat - values[-24:]).mean() < limit


def test_an_unknown_model_lists_the_known() -> None:
    with pytest.raises(ModelError, match="seasonal_naive"):
        run("crystal_ball", hourly(3), HOUR, 4, 0.95)


def fake(error: float, seconds: list[float], cost: float = 1.0):
    def model(grid: FloatArray, step: float, horizon: int, level: float) -> PoolForecast:
        seconds[0] += cost
        if error > 100:
            raise ValueError("no convergence")
        at = np.arange(len(grid), len(grid) + horizon)
        yhat = 50 + 10 * np.sin(2 * np.pi * at / 24) + error
        return PoolForecast(yhat, yhat - 20, yhat + 20)

    return model


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds = [0.0]
    fakes = {"pool": 0.5, "seasonal_naive": 3.0, "good": 0.1, "fair": 1.0, "bad": 6.0, "broken": 999.0}
    for name, error in fakes.items():
        monkeypatch.setitem(LIBRARY, name, fake(error, seconds))  # type: ignore[misc]
    return seconds


def standings(clock: list[float], budget: float, n_origins: int = 4) -> list[list[Standing]]:
    models = ["pool", "seasonal_naive", "good", "fair", "bad", "broken"]
    rounds = compare.compare(
        [Case("x", hourly(20), HOUR)],
        models,
        horizon_of=lambda _: 24,
        n_origins=n_origins,
        budget_seconds=budget,
        clock=lambda: clock[0],
    )
    return [list(one) for one in rounds]


def test_the_worse_half_goes_and_the_yardstick_stays(clock: list[float]) -> None:
    last = standings(clock, 1e9)[-1]
    tried = {s.name: len(s.mase) for s in last}
    assert last[0].name == "good"
    # Of four, two are left after the first round, one after the second, none after the fourth.
    assert tried == {"good": 4, "fair": 2, "bad": 1, "broken": 0, "pool": 4, "seasonal_naive": 4}
    by_name = {s.name: s for s in last}
    assert by_name["broken"].failures == {"broken: no convergence": 1}
    assert by_name["seasonal_naive"].rank == pytest.approx(1.0, rel=0.01)


def test_a_budget_that_is_over_ends_with_what_is_known(clock: list[float]) -> None:
    rounds = standings(clock, 3.0)
    assert len(rounds) == 1
    assert clock[0] <= 4.0
    assert sum(len(s.mase) for s in rounds[0]) >= 2


def test_all_models_are_measured_from_the_same_moments_with_whole_horizons() -> None:
    grid = hourly(20)
    grid[-60:-30] = np.nan
    origins = compare._origins(grid, 24, 6)
    assert origins == sorted(origins, reverse=True)
    assert all(o + 24 <= len(grid) and np.isfinite(grid[o - 1]) for o in origins)
    assert compare._origins(grid[:30], 24, 6) == []


@pytest.mark.parametrize("level", [7.0, 0.0])
def test_what_rounding_makes_of_a_series_that_never_changes_is_no_error(
    level: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nearly(grid: FloatArray, step: float, horizon: int, level: float) -> PoolForecast:
        yhat = np.full(horizon, grid[-1] + 1e-13)
        return PoolForecast(yhat, yhat, yhat)

    monkeypatch.setitem(LIBRARY, "nearly", nearly)  # type: ignore[misc]
    case = Case("flat", np.full(200, level), HOUR)
    *_, last = compare.compare([case], ["pool", "nearly"], horizon_of=lambda _: 4)
    for standing in last:
        assert max(standing.mase) < 1e-3
        assert max(standing.msis) < 1e-3
