"""Every odd kind of series has the answer that docs/forecasting.md states."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.engine.forecast.intermittent import mean_per_step
from sidecar.engine.forecast.past import MAX_POINTS, to_grid
from sidecar.engine.forecast.series import SeriesForecast, forecast_series
from sidecar.errors import ModelError
from sidecar.series import FloatArray

STEP = 300.0
DAY = 288
START_MS = 1_790_000_100_000


def forecast(values: FloatArray, steps: int = DAY, **options: float) -> SeriesForecast:
    times = START_MS + np.arange(len(values), dtype=np.int64) * int(STEP * 1000)
    return forecast_series(times, values, step_seconds=STEP, horizon_steps=steps, **options)


def daily(n_days: int, seed: int = 1, noise: float = 2.0) -> FloatArray:
    at = np.arange(n_days * DAY)
    values = 100 + 30 * np.sin(2 * np.pi * at / DAY) + np.random.default_rng(seed).normal(0, noise, len(at))
    return np.asarray(values)


def test_a_daily_shape_is_continued_within_its_noise() -> None:
    values = daily(11)
    found = forecast(values[: 10 * DAY])
    future = values[10 * DAY :]
    assert np.abs(found.yhat - future).mean() < 2.0  # The noise alone is 1.6.
    inside = (future >= found.lower) & (future <= found.upper)
    assert 0.9 <= inside.mean() <= 1.0
    assert (found.upper - found.lower).mean() < 5 * 2.0


def test_times_follow_the_newest_sample() -> None:
    values = daily(3)
    values[-5:] = np.nan
    found = forecast(values, steps=3)
    last = START_MS + (len(values) - 6) * 300_000
    assert found.timestamps.tolist() == [last + k * 300_000 for k in (1, 2, 3)]


def test_constant_is_carried_on_without_width() -> None:
    found = forecast(np.full(3 * DAY, 7.0))
    assert found.kind == "constant"
    assert set(found.yhat) == set(found.lower) == set(found.upper) == {7.0}


def test_all_absent_is_refused_with_the_reason() -> None:
    with pytest.raises(ModelError, match="no value at all"):
        forecast(np.full(100, np.nan))


@pytest.mark.parametrize("n", [1, 2, 5, 15])
def test_too_short_carries_the_last_value_on_with_a_growing_interval(n: int) -> None:
    values = np.arange(1.0, n + 1)
    found = forecast(values, steps=10)
    assert found.kind == "short"
    assert set(found.yhat) == {float(n)}
    width = found.upper - found.lower
    assert width[-1] > width[0] > 0


def test_under_two_days_has_no_daily_rules() -> None:
    found = forecast(daily(3)[: 2 * DAY - 10], steps=12)
    daily_words = ("day", "yesterday", "hw", "week")
    assert found.rules
    assert not [rule for rule in found.rules if rule.startswith(daily_words)]
    assert np.abs(found.yhat - daily(3)[2 * DAY - 10 : 2 * DAY + 2]).max() < 20.0


def test_beyond_what_could_be_tested_the_interval_grows_as_a_random_walk() -> None:
    # Two days and a half: ten days ahead no rule could be tried.
    values = np.cumsum(np.random.default_rng(2).normal(0, 1, 5 * DAY // 2))
    found = forecast(values, steps=10 * DAY)
    width = found.upper - found.lower
    assert (np.diff(width[[2 * DAY, 4 * DAY, 8 * DAY, 10 * DAY - 1]]) > 0).all()
    assert width[8 * DAY] > 1.5 * width[2 * DAY]


def test_a_short_past_gives_a_wide_interval_that_holds() -> None:
    at = np.arange(4 * 24)
    times = START_MS + at.astype(np.int64) * 3_600_000
    held = []
    for seed in range(30):
        noise = np.random.default_rng(seed).normal(0, 1, (2, len(at)))
        values = 50 + 10 * np.sin(2 * np.pi * at / 24) + np.cumsum(noise[0]) + noise[1]
        found = forecast_series(times[:72], values[:72], step_seconds=3600.0, horizon_steps=24)
        held.append(((values[72:] >= found.lower) & (values[72:] <= found.upper)).mean())
    # By what was seen of errors in three days alone, 70 % would.
    assert np.mean(held) > 0.82


def test_a_level_shift_yesterday_is_believed() -> None:
    values = daily(10, noise=1.0)
    values[-DAY:] += 200
    expected = 300 + 30 * np.sin(2 * np.pi * np.arange(DAY) / DAY)
    found = forecast(values)
    assert np.abs(found.yhat - expected).mean() < 40


def test_gaps_do_not_matter_much() -> None:
    values = daily(11)
    holed = values[: 10 * DAY].copy()
    rng = np.random.default_rng(3)
    holed[:-1][rng.random(10 * DAY - 1) < 0.4] = np.nan
    holed[4 * DAY : 5 * DAY] = np.nan
    found = forecast(holed)
    assert np.abs(found.yhat - values[10 * DAY :]).mean() < 3.0


@pytest.mark.parametrize("steps", [1, 24, DAY])
@pytest.mark.parametrize(
    "samples",
    [
        pytest.param([*range(20), 400], id="some at the start, one after a long gap"),
        pytest.param([0, *range(380, 400)], id="one, a long gap, and then all"),
        pytest.param([*range(7, 1400, 61)], id="here and there"),
        pytest.param([*range(10), *range(500, 508), 1100], id="two stretches"),
    ],
)
def test_a_series_that_is_mostly_gaps_has_a_forecast(samples: list[int], steps: int) -> None:
    values = np.full(samples[-1] + 1, np.nan)
    values[samples] = 5.0 + np.sin(np.arange(len(samples)))
    found = forecast(values, steps=steps)
    assert np.isfinite([found.yhat, found.lower, found.upper]).all()
    assert 0.0 <= found.yhat.min() <= found.yhat.max() <= 10.0


def test_a_counter_with_resets_is_forecast_as_if_it_were_not_reset_again() -> None:
    rate = 1 + 0.5 * np.sin(2 * np.pi * np.arange(9 * DAY) / DAY)
    total = np.cumsum(rate)
    seen = total[: 8 * DAY].copy()
    seen[3 * DAY :] -= total[3 * DAY - 1]
    seen[6 * DAY :] -= total[6 * DAY - 1] - total[3 * DAY - 1]
    found = forecast(seen)
    future = total[8 * DAY :] - total[6 * DAY - 1]
    assert found.kind == "counter"
    assert (np.diff(found.yhat) >= 0).all()
    assert found.lower[0] >= seen[-1]
    assert np.abs(found.yhat - future).max() < 0.1 * (future[-1] - seen[-1])


def test_what_never_fell_is_not_forecast_to_fall() -> None:
    found = forecast(np.cumsum(np.random.default_rng(0).random(5 * DAY)))
    assert found.kind == "growing"
    assert (np.diff(found.yhat) >= 0).all()


@pytest.mark.parametrize("steps", [pytest.param(12, id="an hour"), pytest.param(7 * DAY, id="a week")])
def test_a_counter_of_whole_weeks_is_certain_of_its_next_steps(steps: int) -> None:
    seen = np.cumsum(np.random.default_rng(3).poisson(5, 14 * DAY)).astype(np.float64)
    found = forecast(seen, steps)
    assert found.yhat[:12] == pytest.approx(seen[-1] + 5.0 * np.arange(1, 13), abs=6.0)
    assert (found.upper - found.lower)[:12].max() < 120.0
    assert (found.upper > found.yhat).all()


@pytest.mark.parametrize("unit", [pytest.param(2.0**-50, id="tiny"), pytest.param(2.0**70, id="huge")])
def test_the_unit_of_a_series_changes_nothing(unit: float) -> None:
    values = daily(6)
    plain, scaled = forecast(values, 24), forecast(values * unit, 24)
    for side in ("yhat", "lower", "upper"):
        assert getattr(scaled, side) / unit == pytest.approx(getattr(plain, side), rel=1e-6)


def test_a_sample_that_is_no_measurement_is_left_out() -> None:
    values = daily(4)
    values[700] = 1.7e308
    found = forecast(values, 24)
    assert found.upper.max() < 200.0


def test_never_negative_stays_so_and_negative_may_go_below() -> None:
    positive = np.abs(daily(6) - 100)
    assert forecast(positive).lower.min() >= 0
    assert forecast(daily(6) - 100).lower.min() < 0


def test_whole_numbers_are_not_rounded() -> None:
    rng = np.random.default_rng(7)
    replicas = 3.0 + rng.integers(0, 2, 8 * DAY)
    found = forecast(replicas)
    assert np.median(found.lower) <= 3.0
    assert np.median(found.upper) >= 4.0
    assert found.lower.min() >= 2.0
    assert found.upper.max() <= 5.0


def test_what_is_always_negative_stays_about_its_level() -> None:
    found = forecast(daily(8) - 500.0)
    assert np.abs(found.yhat.mean() + 400.0) < 5.0
    assert found.upper.max() < -300.0


def test_a_sawtooth_falls_in_time() -> None:
    # Logs that grow for seven hours and are rotated away: no period divides the day.
    tooth = 84
    at = np.arange(12 * DAY)
    values = 20.0 + 60.0 * (at % tooth) / tooth + np.random.default_rng(2).normal(0, 0.5, len(at))
    seen = 11 * DAY + 40
    found = forecast(values[:seen], steps=DAY - 40)
    future = values[seen : seen + DAY - 40]
    assert np.abs(found.yhat - future).mean() < 4.0
    assert found.upper.max() < 90.0


@pytest.mark.parametrize("step", [86_400, 7 * 86_400], ids=["days", "weeks"])
def test_at_steps_of_days_the_past_is_years_and_the_interval_holds(step: int) -> None:
    rng, n, ahead = np.random.default_rng(3), 300, 14
    inside = []
    for _ in range(3):
        at = np.arange(n + ahead)
        values = 100 + 0.5 * at + rng.normal(0, 1, n + ahead)
        times = START_MS + at[:n] * step * 1000
        found = forecast_series(times, values[:n], step_seconds=step, horizon_steps=ahead)
        future = values[n:]
        assert np.abs(found.yhat - future).mean() < 2.5, "it goes on growing"
        assert (found.upper - found.lower).mean() < 12
        inside.append(((future >= found.lower) & (future <= found.upper)).mean())
    assert np.mean(inside) >= 0.9


def test_bursts_of_milliseconds_over_months_need_no_grid_of_all_of_them() -> None:
    times = START_MS + (np.arange(1440)[:, None] * 3_600_000 + np.arange(5)).ravel().astype(np.int64)
    values = np.random.default_rng(1).normal(50, 1, len(times))
    found = forecast_series(times, values, step_seconds=0.001, horizon_steps=3)
    assert (found.kind, found.timestamps[0]) == ("short", times[-1] + 1)
    assert len(to_grid(times, values, 0.001)) <= MAX_POINTS


def test_irregular_times_are_put_on_their_grid() -> None:
    values = daily(8)
    jitter = np.random.default_rng(6).integers(-20_000, 20_000, len(values))
    times = START_MS + np.arange(len(values), dtype=np.int64) * 300_000
    even = forecast_series(times, values, step_seconds=STEP, horizon_steps=12)
    odd = forecast_series(times + jitter, values, step_seconds=STEP, horizon_steps=12)
    np.testing.assert_allclose(odd.yhat, even.yhat, atol=2.0)
    assert odd.timestamps[0] == times[-1] + jitter[-1] + 300_000


@pytest.mark.parametrize(
    ("values", "options", "low", "high"),
    [
        pytest.param(np.minimum(daily(6) / 110, 1.0), {}, 0.0, 1.0, id="a share that stands at 1"),
        pytest.param(np.minimum(daily(6), 100.0), {}, 0.0, 100.0, id="a percentage that stands at 100"),
        pytest.param(daily(6), {"floor": 90.0, "ceiling": 105.0}, 90.0, 105.0, id="as told"),
    ],
)
def test_bounds_hold(values: FloatArray, options: dict[str, float], low: float, high: float) -> None:
    found = forecast(values, **options)
    assert found.lower.min() >= low
    assert found.upper.max() <= high


def test_mostly_zero_expects_zero_and_leaves_room_above() -> None:
    rng = np.random.default_rng(5)
    values = np.where(rng.random(8 * DAY) < 0.1, rng.integers(1, 9, 8 * DAY), 0).astype(float)
    found = forecast(values)
    assert found.kind == "intermittent"
    assert np.median(found.yhat) < 0.5
    assert np.median(found.upper) >= 3
    assert found.lower.min() == 0
    # One step in ten has 4.5 in the mean.
    assert found.mean == pytest.approx(0.45, abs=0.2)


def test_the_mean_of_what_no_longer_comes_falls_to_nothing() -> None:
    values = np.where(np.arange(400) % 4 == 0, 4.0, 0.0)
    assert mean_per_step(values) == pytest.approx(1.0, rel=0.25)
    assert mean_per_step(np.concatenate([values, np.zeros(60)])) < 0.05
    assert mean_per_step(np.zeros(10)) == 0.0


def test_a_wider_level_gives_a_wider_interval() -> None:
    narrow, wide = forecast(daily(8), level=0.5), forecast(daily(8), level=0.99)
    assert (wide.upper - wide.lower).mean() > 2 * (narrow.upper - narrow.lower).mean()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.floats(-1e12, 1e12), st.just(float("nan"))), min_size=1, max_size=80).filter(
        lambda xs: any(x == x for x in xs)
    ),
    st.integers(1, 60),
)
def test_whatever_comes_in_a_whole_ordered_forecast_goes_out(xs: list[float], steps: int) -> None:
    values = np.array(xs)
    before = values.copy()
    found = forecast(values, steps=steps)
    assert np.array_equal(values, before, equal_nan=True)
    assert len(found.yhat) == len(found.timestamps) == steps
    assert np.isfinite([found.yhat, found.lower, found.upper]).all()
    assert (found.lower <= found.yhat).all()
    assert (found.yhat <= found.upper).all()
