"""What the series of a query learn of their thresholds together, and what does not mislead them."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.config.model import QueryConfig, usual_false_alarms
from sidecar.engine.alarm_pool import LEAST_ROWS, LOWEST, AlarmPool
from sidecar.engine.model import QueryModel
from sidecar.errors import ModelError
from sidecar.series import FloatArray, LabelSet, SeriesBatch

HOUR, DAYS = 3600.0, 24
MONTH_HOURS = 30 * DAYS
USUAL = usual_false_alarms(60.0)
N_ROWS = 50


def usual_pool() -> AlarmPool:
    return AlarmPool(USUAL, 60.0, 4.0)


def hours(pool: AlarmPool, n: int, spent: float | FloatArray, own: float | FloatArray = 0.0) -> AlarmPool:
    """So many hours in each of which every row spends as much of what it may."""
    may = np.full(N_ROWS, USUAL / MONTH_HOURS)
    for _ in range(n):
        pool.learn(may * spent, may, np.zeros(N_ROWS) + own, HOUR)
    return pool


def test_quiet_of_all_lowers_all_thresholds_within_days_and_no_further_than_stated() -> None:
    pool = usual_pool()
    assert pool.factor == 1.0
    assert hours(pool, 2 * DAYS, 0.0).factor < 0.7
    assert hours(pool, 60 * DAYS, 0.0).factor == LOWEST


def test_where_alarms_come_as_often_as_they_may_nothing_is_lowered() -> None:
    assert hours(usual_pool(), 30 * DAYS, 1.0).factor == pytest.approx(1.0, abs=0.01)


def test_alarms_never_raise_thresholds_since_they_may_be_incidents() -> None:
    assert hours(usual_pool(), 30 * DAYS, 4.0).factor == 1.0


def test_too_low_is_found_out_and_mended() -> None:
    pool = hours(usual_pool(), 5 * DAYS, 0.0)
    low = pool.factor
    assert hours(pool, 30 * DAYS, 4.0).factor > low + 0.3


def test_an_incident_of_all_is_one_and_not_one_each() -> None:
    pool, same = hours(usual_pool(), 5 * DAYS, 0.0), hours(usual_pool(), 5 * DAYS, 0.0)
    pool.learn(np.ones(N_ROWS), np.full(N_ROWS, USUAL / MONTH_HOURS), np.zeros(N_ROWS), HOUR)
    assert pool.factor < 1.1 * same.factor


def test_a_few_series_that_alarm_all_the_time_speak_for_themselves() -> None:
    loud = np.arange(N_ROWS) < 5
    pool = hours(usual_pool(), 10 * DAYS, np.where(loud, 50.0, 0.0), np.where(loud, 1.5, 0.0))
    assert pool.factor == hours(usual_pool(), 10 * DAYS, 0.0).factor == LOWEST


def test_few_series_are_no_pool() -> None:
    pool, few = usual_pool(), np.full(LEAST_ROWS - 1, 1000.0)
    pool.learn(0.0 * few, few, 0.0 * few, HOUR)
    assert pool.factor == 1.0


def test_a_strict_budget_may_go_as_low_as_the_usual_one() -> None:
    """One a sixteenth as large begins at twice the threshold."""
    pool = AlarmPool(USUAL / 16.0, 60.0, 4.0)
    assert hours(pool, 2000, 0.0).factor == pytest.approx(LOWEST / 2.0)


def test_what_was_counted_is_saved_and_nonsense_refused() -> None:
    pool, again = hours(usual_pool(), 5 * DAYS, 0.2), usual_pool()
    again.restore(pool.state())
    assert again.factor == pool.factor < 1.0
    for counts in (np.zeros(3), np.array([np.nan, 1.0]), np.array([-1.0, 1.0])):
        with pytest.raises(ModelError, match="pool's two counts"):
            again.restore(counts)


def scores(values: FloatArray) -> FloatArray:
    step = 300
    at = (1_790_000_000 // step + np.arange(values.shape[1], dtype=np.int64)) * step * 1000
    labels = tuple(LabelSet({"i": str(i)}) for i in range(len(values)))
    query = QueryConfig(name="q", expr="x", step=step, forecast_horizons=())
    return QueryModel(query).score(SeriesBatch("q", labels, at, values))[2].anomaly_score


def test_one_series_more_hardly_moves_the_others() -> None:
    """By a quarter at most, but for one score in twenty: where a series has an alarm more or less for it."""
    rng = np.random.default_rng(5)
    n_steps = 25 * 288
    tame = rng.normal(50, 2, (8, n_steps))
    alone = scores(tame)
    moved = []
    for strange in (np.zeros(n_steps), rng.standard_t(2, n_steps), 1e6 * (rng.random(n_steps) < 0.01)):
        more = scores(np.vstack([tame, strange]))[:8]
        known = np.isfinite(alone) & (alone > 0.0)
        moved.append(np.abs(np.log(more[known] / alone[known])))
        assert np.quantile(moved[-1], 0.95) < np.log(1.25)
    assert max(one.max() for one in moved) > 0.0, "the pool is at work, or this shows nothing"


def test_young_series_are_judged_by_the_usual_threshold_until_they_know_their_weeks() -> None:
    rng = np.random.default_rng(6)
    n_steps, born = 22 * 288, 17 * 288
    values = rng.normal(50, 2, (9, n_steps))
    values[0, :born] = np.nan
    values[0] *= 40.0  # Like no other: it borrows nothing.
    alone = scores(values[:1])
    beside = scores(values)[:1]
    np.testing.assert_allclose(beside, alone, rtol=1e-9)
