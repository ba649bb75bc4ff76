"""At long steps the threshold stands where the series goes at its furthest without an alarm."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.alarms import (
    FURTHEST_SECONDS,
    LEAST_OF_QUIET,
    ROOM,
    AlarmBudget,
    learn_alarm,
    threshold_at,
)

HOUR, MINUTE = 3600.0, 60.0
DAYS = 24


def feed(budget: AlarmBudget, values: np.ndarray, start: float, step: float) -> np.ndarray:
    """The thresholds that these values met, one a step, in those that a series begins with."""
    alarms = budget.arrays["alarms"]
    met = np.empty(len(values))
    for at, value in enumerate(values):
        now = start + at * step
        met[at] = threshold_at(alarms, 0, now, step, budget.base)
        learn_alarm(alarms, 0, now, step, value, met[at], budget.per_second, False, budget.base, 0.0)
    return met / budget.base


def of_one_series(step: float) -> AlarmBudget:
    budget = AlarmBudget(0.7, step)
    budget.resize(1)
    return budget


def noise(n: int, furthest: float) -> np.ndarray:
    """In thresholds that a series begins with, `furthest` once a day."""
    values = np.full(n, furthest / 4)
    values[::DAYS] = furthest
    return values


@pytest.mark.parametrize("furthest", [0.35, 0.45])
def test_it_stands_some_room_above_the_furthest(furthest: float) -> None:
    budget = of_one_series(HOUR)
    met = feed(budget, noise(60 * DAYS, furthest) * budget.base, 1e9, HOUR)
    assert met[0] == 1.0
    assert met[-1] == pytest.approx(ROOM * furthest, rel=0.08)
    assert budget.thresholds()[0] == pytest.approx(met[-1] * budget.base, rel=0.01)


def test_it_is_no_lower_than_a_part_of_the_first() -> None:
    budget = of_one_series(HOUR)
    assert feed(budget, noise(90 * DAYS, 0.01) * budget.base, 1e9, HOUR)[-1] == LEAST_OF_QUIET


def test_an_alarm_ends_the_quiet_and_time_brings_it_back() -> None:
    budget = of_one_series(HOUR)
    feed(budget, noise(60 * DAYS, 0.3) * budget.base, 1e9, HOUR)
    after = 1e9 + 60 * DAYS * HOUR
    feed(budget, np.array([2.0, 0.1]) * budget.base, after, HOUR)
    met = feed(budget, noise(60 * DAYS, 0.3) * budget.base, after + 48 * HOUR, HOUR)
    assert met[0] > 0.99
    early = int(FURTHEST_SECONDS / HOUR / 14)
    assert met[early] > 0.9
    assert met[-1] < 0.7


def test_at_steps_of_a_minute_only_time_lowers_it() -> None:
    quiet, loud = of_one_series(MINUTE), of_one_series(MINUTE)
    low = feed(quiet, noise(20 * DAYS * 60, 0.01) * quiet.base, 1e9, MINUTE)
    high = feed(loud, noise(20 * DAYS * 60, 0.6) * loud.base, 1e9, MINUTE)
    assert np.array_equal(low, high)
