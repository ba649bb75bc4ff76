"""The pool's parts: no rule looks ahead, analogs know sawtooths, a frozen selection follows its series."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.forecast import pool, ridge
from sidecar.engine.forecast.analog import Analog
from sidecar.engine.forecast.backtest import plan
from sidecar.engine.forecast.interval import winkler
from sidecar.engine.forecast.past import Past, same_time_mean, to_grid
from sidecar.engine.forecast.rules import View, other_periods
from sidecar.series import FloatArray

STEP = 1800.0
DAY = 48


def traffic(n_days: int, seed: int = 0) -> FloatArray:
    at = np.arange(n_days * DAY)
    noise = np.random.default_rng(seed).normal(0, 2, len(at))
    return np.asarray(50 + 20 * np.sin(2 * np.pi * at / DAY) + 5 * ((at // DAY) % 7 >= 5) + noise)


def view_of(values: FloatArray, origins: list[int]) -> View:
    return View(Past(values, STEP), np.array(origins)[:, None], np.arange(1, DAY + 1)[None, :])


RULES = sorted(pool._every_rule(Past(traffic(24), STEP), [7]))


@pytest.mark.parametrize("origin", [2 * DAY + 1, 20 * DAY + 5], ids=["before a week", "late"])
@pytest.mark.parametrize("name", RULES)
def test_no_rule_reads_what_came_after_its_origin(name: str, origin: int) -> None:
    values = traffic(24)
    values[3::7] += 4
    changed = values.copy()
    changed[origin:] = np.random.default_rng(1).normal(500, 300, len(values) - origin)
    said = []
    for series in (values, changed):
        view = view_of(series, [origin])
        # The centre is subtracted from all values alike, so it is added before comparing.
        said.append(pool._every_rule(view.past, [7])[name](view) + view.past.centre)
    np.testing.assert_allclose(said[0], said[1], rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("as_log", [False, True])
def test_the_linear_rule_is_tested_on_what_was_known_then(as_log: bool) -> None:
    values = traffic(24)
    changed = values.copy()
    changed[22 * DAY :] *= 3
    said = []
    for series in (values, changed):
        past = Past(series, STEP)
        origins = np.array([16 * DAY, 17 * DAY, 18 * DAY, 19 * DAY, 20 * DAY])
        tried, _ = ridge.test_linear(past, series, origins, np.arange(1, 49), as_log=as_log)
        said.append(tried + past.centre)
    np.testing.assert_allclose(said[0], said[1], rtol=1e-6)


def test_analogs_foresee_the_fall_of_a_sawtooth() -> None:
    at = np.arange(20 * DAY)
    life = 61  # No divisor of the day, so that no daily rule can know it.
    values = (at % life) + np.random.default_rng(2).normal(0, 0.3, len(at))
    view = view_of(values[:-DAY], [19 * DAY])
    said = Analog(view.past, relative=False)(view)[0] + view.past.centre
    assert np.abs(said - values[-DAY:]).mean() < 2.5
    assert np.abs(values[-DAY - 1] - values[-DAY:]).mean() > 10


def test_a_period_that_is_no_day_is_found() -> None:
    at = np.arange(14 * DAY)
    values = 10.0 + 30 * (at % 7 == 0) + np.random.default_rng(3).normal(0, 1, len(at))
    assert 7 in other_periods(Past(values, STEP))
    assert other_periods(Past(traffic(14), STEP)) == []


def test_a_frozen_selection_follows_the_series_as_it_grows() -> None:
    values = traffic(24)
    selection = pool.select(values[: 22 * DAY], STEP, DAY)
    found = selection.forecast(values[: 23 * DAY])
    future = values[23 * DAY :]
    assert np.abs(found.yhat - future).mean() < 2.5  # The noise alone is 1.6.
    assert ((future >= found.lower) & (future <= found.upper)).mean() > 0.85
    again = selection.forecast(values[: 23 * DAY])
    np.testing.assert_array_equal(found.yhat, again.yhat)


def test_weights_go_to_the_rules_that_were_right() -> None:
    values = np.random.default_rng(5).normal(0, 1, 20 * DAY).cumsum()
    shares = pool.select(values, STEP, 2).shares
    near = sum(
        share for name, share in shares.items() if name.startswith(("last", "ses0.6", "holt0", "hw0.9"))
    )
    far = sum(share for name, share in shares.items() if name.startswith(("mean7", "daymean", "median7")))
    assert near > far
    assert sum(shares.values()) == pytest.approx(1.0, abs=0.1)


def test_origins_leave_their_targets_and_stand_after_samples() -> None:
    values = traffic(20)
    values[::3] = np.nan
    values[-1] = 50.0
    past = Past(values, STEP)
    tests = plan(past, DAY)
    assert len(tests.origins) >= 48
    assert past.observed[tests.origins - 1].all()
    assert tests.origins.max() < past.n
    assert np.isnan(tests.actual).any()


def test_the_interval_score_fines_what_lies_outside() -> None:
    y = np.array([5.0, 12.0, -1.0])
    found = winkler(y, np.zeros(3), np.full(3, 10.0), 0.95)
    np.testing.assert_allclose(found, [10.0, 10 + 40 * 2, 10 + 40 * 1])


def test_samples_fall_on_the_grid_that_ends_at_the_newest() -> None:
    times = np.array([0, 59_000, 121_000, 300_000], dtype=np.int64)
    grid = to_grid(times, np.array([1.0, 2.0, 3.0, 4.0]), 60.0)
    np.testing.assert_array_equal(grid, [1.0, 2.0, 3.0, np.nan, np.nan, 4.0])


@pytest.mark.parametrize("n_days", [1, 2, 3, 8, 13, 14, 15])
def test_as_many_features_are_told_as_there_are(n_days: int) -> None:
    view = view_of(traffic(n_days), [n_days * DAY - 1])
    assert ridge.Features(view.past).at(view).shape[2] == ridge.n_features(view.past)


@pytest.mark.parametrize(
    ("before", "after"), [(1.9, 2.1), (7.9, 8.1), (13.9, 14.1)], ids=["days", "week", "weeks"]
)
def test_a_selection_outlives_the_growth_of_its_series(before: float, after: float) -> None:
    values = 10 + np.random.default_rng(2).normal(size=15 * DAY)
    chosen = pool.select(values[: round(before * DAY)], STEP, DAY)
    assert chosen.linear, "or nothing is tried here"
    said = chosen.forecast(values[: round(after * DAY)])
    assert np.isfinite(said.yhat).all()
    assert (said.lower <= said.upper).all()


@pytest.mark.parametrize("gain", [0.33, 0.12])
def test_the_mean_of_days_of_what_grows_has_no_jump_from_day_to_day(gain: float) -> None:
    behind = np.arange(16.0 * DAY) - same_time_mean(np.arange(16.0 * DAY), DAY, gain)
    assert np.abs(np.diff(behind)).max() < 1.1
