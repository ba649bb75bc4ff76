"""Intervals at leads that the past could not test: they hold, and are not as narrow as one lucky moment."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.forecast.beyond import growth_of, unseen
from sidecar.engine.forecast.past import Past
from sidecar.engine.forecast.pool import pool_forecast
from tests.benchmarks.ops_series import series

HOURS = 24
UNSEEN_KINDS = ("memory_leak", "wandering")
"""Three days of these do not show what the next seven hold: a first restart, a mean far off."""


@pytest.mark.parametrize(
    ("known_days", "ahead_days"),
    [
        pytest.param(3, 7, id="a week of three days"),
        pytest.param(7, 28, id="four weeks of one"),
        pytest.param(7, 7, id="as far as known"),
    ],
)
def test_the_interval_holds_beyond_what_could_be_tested(known_days: int, ahead_days: int) -> None:
    held = []
    for name, step, values in series(3, seed=33, steps=(3600,), days=(36, 37)):
        if name.startswith(UNSEEN_KINDS):
            continue
        known = known_days * HOURS
        found = pool_forecast(values[:known], step, ahead_days * HOURS)[0]
        actual = values[known : known + ahead_days * HOURS]
        held.append(((actual >= found.lower) & (actual <= found.upper)).mean())
    assert 0.88 <= np.mean(held) <= 0.98


def test_far_leads_are_no_narrower_than_tested_ones_where_one_moment_was_lucky() -> None:
    for _, step, values in series(2, seed=34, steps=(3600,)):
        found = pool_forecast(values[: 3 * HOURS], step, 7 * HOURS)[0]
        width = found.upper - found.lower
        assert np.median(width[5 * HOURS :]) >= 0.9 * np.median(width[:HOURS])


def test_a_quiet_series_does_not_explode() -> None:
    values = 50.0 + np.random.default_rng(3).normal(0.0, 1.0, 3 * HOURS)
    found = pool_forecast(values, 3600.0, 7 * HOURS)[0]
    assert found.upper.max() - found.lower.min() < 5.0 * np.ptp(values)
    assert np.abs(found.yhat - 50.0).max() < 2.0


def test_what_grew_for_three_days_is_forecast_to_grow_further_than_it_did() -> None:
    rng = np.random.default_rng(5)
    values = 40.0 + np.cumsum(rng.gamma(4.0, 0.05, 10 * HOURS))
    found = pool_forecast(values[: 3 * HOURS], 3600.0, 7 * HOURS)[0]
    assert found.lower[-1] <= values[-1] <= found.upper[-1]
    assert found.yhat[-1] > values[3 * HOURS - 1] + np.ptp(values[: 3 * HOURS])


@pytest.mark.parametrize(
    ("sizes", "growth"),
    [
        pytest.param(np.full(12, 2.0), 0.25, id="none seen, half a random walk's"),
        pytest.param(np.sqrt(np.arange(1.0, 13.0)), 0.5, id="a random walk's"),
        pytest.param(np.arange(1.0, 13.0), 0.75, id="a wrong slope's"),
        pytest.param(np.arange(1.0, 13.0) ** 3, 0.75, id="steeper is not believed"),
        pytest.param(np.arange(12.0, 0.0, -1.0), 0.25, id="falling is not believed"),
        pytest.param(np.zeros(12), 0.5, id="never off, nothing is known"),
    ],
)
def test_growth_is_half_measured(sizes: np.ndarray, growth: float) -> None:
    assert growth_of(np.arange(1, 13), sizes) == pytest.approx(growth, abs=0.01)


def test_growth_of_too_few_leads_is_a_random_walks() -> None:
    assert growth_of(np.array([1, 2]), np.array([1.0, 5.0])) == 0.5


def test_what_is_unseen_begins_where_the_test_ends_and_counts_what_is_carried_on() -> None:
    past = Past(np.tile(np.sin(np.arange(24.0)), 4), 3600.0)
    flat, rising = np.zeros(96), np.maximum(np.arange(96.0) - 40.0, 0.0)
    assert not unseen(past, flat, 30)[:30].any()
    assert (np.diff(unseen(past, flat, 30)[:59]) >= 0.0).all()
    assert (unseen(past, rising, 30)[60:] > unseen(past, flat, 30)[60:] + 1.0).all()
