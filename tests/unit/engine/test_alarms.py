"""Thresholds that marginal alarms raise and quiet lowers."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.alarms import (
    AFTERMATH,
    ALARM_END,
    ALONE,
    CLEAR_OF_ALARM_SECONDS,
    HYSTERESIS,
    IN_ALARM,
    LENGTH,
    LOG_OF_POINTS,
    LOG_THRESHOLD,
    LONGEST_WAIT_SECONDS,
    LOWEST,
    MANY_SAMPLES_SECONDS,
    MONTH_SECONDS,
    NEAR_MISSES,
    SINKS,
    STEP,
    UNIT_BUDGET,
    AlarmBudget,
    learn_alarm,
    threshold_at,
)

MINUTE = 60.0


def feed(
    budget: AlarmBudget, values: list[float], start: float = 1e9, step: float = MINUTE, by_point: bool = False
) -> list[float]:
    """The thresholds that these values met, one a step."""
    if not budget.n_rows:
        budget.resize(1)
    alarms = budget.arrays["alarms"]
    met = []
    for at, value in enumerate(values):
        now = start + at * step
        threshold = threshold_at(alarms, 0, now, step, budget.base)
        met.append(threshold)
        learn_alarm(alarms, 0, now, step, value, threshold, budget.per_second, by_point, budget.base, 0.0)
    return met


def usual() -> AlarmBudget:
    return AlarmBudget(UNIT_BUDGET, MINUTE)


def log_threshold(budget: AlarmBudget) -> float:
    """How far the threshold of all statistics has moved."""
    return float(budget.arrays["alarms"][0, LOG_THRESHOLD])


def test_the_unit_of_the_statistic_stands_for_a_budget() -> None:
    assert feed(usual(), [0.1]) == [ALONE]
    assert feed(AlarmBudget(UNIT_BUDGET, MINUTE), [1.1, 1.1])[1] == pytest.approx(1.0, rel=1e-3)


def test_a_sixteenth_of_the_budget_doubles_the_threshold() -> None:
    assert AlarmBudget(UNIT_BUDGET / 16, MINUTE).base == pytest.approx(2.0)


def test_a_sample_alone_has_to_be_further_off_but_where_steps_are_long() -> None:
    unusual = 0.5 * (1.0 + ALONE)
    short = feed(usual(), [unusual, unusual])
    assert short[0] > unusual > short[1]
    long = AlarmBudget(UNIT_BUDGET, MINUTE)
    long.first = 1.0
    assert feed(long, [unusual], step=2 * LONGEST_WAIT_SECONDS)[0] == 1.0


def test_while_an_alarm_lasts_the_threshold_is_lower_and_then_higher() -> None:
    met = feed(usual(), [1.4, 0.95, 0.5, 0.5])
    assert met[1] == pytest.approx(HYSTERESIS, rel=1e-3)
    assert met[2] == pytest.approx(HYSTERESIS, rel=1e-3)  # 0.95 is above it: the alarm lasts.
    assert met[3] > 1.0 + 0.9 * AFTERMATH


def test_a_clear_alarm_that_lasts_teaches_less_than_a_marginal_one() -> None:
    marginal, clear = usual(), usual()
    feed(marginal, [1.35, 1.05, 1.05, 0.0])
    feed(clear, [9.0, 9.0, 9.0, 0.0])
    assert marginal.thresholds()[0] > clear.thresholds()[0] > 1.0


def test_a_single_sample_teaches_in_full_however_far_it_was() -> None:
    budget = usual()
    feed(budget, [9.0, 0.0])
    assert log_threshold(budget) == pytest.approx(STEP, rel=0.3)


@pytest.mark.parametrize(
    ("samples", "least", "most"),
    [
        pytest.param(1, 0.7, 1.1, id="one sample is mostly noise"),
        pytest.param(10, 0.0, 0.5, id="ten minutes are an event"),
        pytest.param(40, 0.7, 1.1, id="what stays has changed its ways"),
    ],
)
def test_how_long_an_alarm_was_says_how_much_it_teaches(samples: int, least: float, most: float) -> None:
    budget = usual()
    feed(budget, [1.35] + [1.1] * (samples - 1) + [0.0])
    assert least < log_threshold(budget) / STEP < most


def test_what_single_points_teach_is_partly_about_points_only() -> None:
    points, windows = usual(), usual()
    feed(points, [1.4, 0.0], by_point=True)
    feed(windows, [1.4, 0.0])
    assert log_threshold(windows) > log_threshold(points) > 0.0
    assert points.thresholds()[0] > windows.thresholds()[0]
    assert windows.arrays["alarms"][0, LOG_OF_POINTS] == 0.0


def test_with_long_steps_an_alarm_teaches_less() -> None:
    minutes, hours = usual(), usual()
    feed(minutes, [1.5, 0.1])
    feed(hours, [1.5, 0.1], step=60 * MINUTE)
    assert log_threshold(minutes) > log_threshold(hours) > 0.0


def test_marginal_alarms_as_often_as_the_budget_says_keep_a_raised_threshold() -> None:
    budget = usual()
    every = round(MONTH_SECONDS / UNIT_BUDGET / MINUTE)
    budget.resize(1)
    budget.arrays["alarms"][0, LOG_THRESHOLD] = 0.5
    feed(budget, [1.35 * np.exp(0.5)] + [0.0] * (every - 1))
    # One alarm in one budget's time: what it raised, quiet lowered again.
    assert log_threshold(budget) == pytest.approx(0.5, abs=0.05)


def test_quiet_lowers_what_alarms_raised_faster_than_where_a_series_began() -> None:
    raised, fresh = usual(), usual()
    for budget, start in ((raised, 1.0), (fresh, 0.0)):
        budget.resize(1)
        budget.arrays["alarms"][0, LOG_THRESHOLD] = start
        feed(budget, [0.0] * 1440)
    assert -log_threshold(fresh) == pytest.approx(SINKS * (1.0 - log_threshold(raised)), rel=0.01)


def test_quiet_lowers_the_threshold_to_its_floor_only() -> None:
    budget = AlarmBudget(1e9, MINUTE)
    feed(budget, [0.0] * 100)
    assert budget.thresholds()[0] == pytest.approx(budget.base * np.exp(LOWEST))
    assert budget.arrays["alarms"][0, IN_ALARM] == 0.0


def told(budget: AlarmBudget, n: int, *, near: int, step: float = MINUTE) -> float:
    """What the n-th alarm raised the threshold by; `near` misses lie in the half-day before each."""
    quiet = [0.0] * int(6 * 3600 / step)
    start, raised = 1e9, 0.0
    for _ in range(n):
        for share in [*([0.85, 0.1] * near), *quiet, 1.4, 1.1, 1.1, 1.1, 0.0]:
            before = log_threshold(budget) if budget.n_rows else 0.0
            feed(budget, [share * float(np.exp(before))], start, step)
            raised = log_threshold(budget) - before
            start += step
        start += 6 * 3600
        feed(budget, [0.0] * 2, start, step)
        start += 2 * step
    return raised


def test_alarms_of_a_series_that_never_comes_near_its_threshold_teach_less_and_less() -> None:
    assert told(usual(), 8, near=0) < 0.4 * told(usual(), 8, near=3)
    # Nobody knows yet what the first one was.
    assert told(usual(), 1, near=0) == pytest.approx(told(usual(), 1, near=3), rel=0.05)


def test_where_samples_are_few_none_near_says_nothing() -> None:
    long = 2 * MANY_SAMPLES_SECONDS
    assert told(usual(), 8, near=0, step=long) == pytest.approx(told(usual(), 8, near=3, step=long), rel=0.05)


def test_what_an_alarm_leaves_behind_is_no_near_miss() -> None:
    budget = usual()
    feed(budget, [0.0, 1.4, 1.1, 0.0, 0.9, 0.0, 0.9, 0.0])
    assert budget.arrays["alarms"][0, NEAR_MISSES] == 0.0
    near = 0.9 * float(np.exp(log_threshold(budget))) * ALONE
    feed(budget, [near, 0.0], start=1e9 + 20 * CLEAR_OF_ALARM_SECONDS)
    assert budget.arrays["alarms"][0, NEAR_MISSES] == 1.0


def test_a_row_that_adopts_has_the_threshold_and_no_alarm() -> None:
    budget = AlarmBudget(8.0, 60.0)
    budget.resize(2)
    alarms = budget.arrays["alarms"]
    alarms[0] = np.arange(1.0, alarms.shape[1] + 1)
    budget.adopt(np.array([1]), np.array([0]), 120_000)
    assert alarms[1, LOG_THRESHOLD] == alarms[0, LOG_THRESHOLD]
    assert (alarms[1, IN_ALARM], alarms[1, LENGTH], alarms[1, ALARM_END]) == (0.0, 0.0, 120.0)
