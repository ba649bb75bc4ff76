"""Thresholds that marginal alarms raise and quiet lowers."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.alarms import (
    AFTERMATH,
    HYSTERESIS,
    IN_ALARM,
    LOWEST,
    MONTH_SECONDS,
    STEP,
    UNIT_BUDGET,
    AlarmBudget,
    learn_alarm,
    threshold_at,
)

MINUTE = 60.0


def feed(budget: AlarmBudget, values: list[float], start: float = 1e9) -> list[float]:
    """The thresholds that these values met, one a minute."""
    if not budget.n_rows:
        budget.resize(1)
    alarms = budget.arrays["alarms"]
    met = []
    for at, value in enumerate(values):
        now = start + at * MINUTE
        threshold = threshold_at(alarms, 0, now, budget.base)
        met.append(threshold)
        learn_alarm(alarms, 0, now, MINUTE, value, threshold, budget.per_second)
    return met


def usual() -> AlarmBudget:
    return AlarmBudget(UNIT_BUDGET, MINUTE)


def test_the_unit_of_the_statistic_stands_for_a_budget() -> None:
    assert feed(usual(), [0.1]) == [1.0]


def test_a_sixteenth_of_the_budget_doubles_the_threshold() -> None:
    assert AlarmBudget(UNIT_BUDGET / 16, MINUTE).base == pytest.approx(2.0)


def test_while_an_alarm_lasts_the_threshold_is_lower_and_then_higher() -> None:
    met = feed(usual(), [1.2, 0.9, 0.5, 0.5])
    assert met[1] == pytest.approx(HYSTERESIS, rel=1e-3)
    assert met[2] == pytest.approx(HYSTERESIS, rel=1e-3)  # 0.9 is above it: the alarm lasts.
    assert met[3] == pytest.approx((1 + AFTERMATH) * np.exp(STEP), rel=0.02)


def test_a_clear_alarm_teaches_less_than_a_marginal_one() -> None:
    marginal, clear = usual(), usual()
    feed(marginal, [1.05, 0.0])
    feed(clear, [9.0, 0.0])
    assert marginal.thresholds()[0] > clear.thresholds()[0] > 1.0


def test_with_long_steps_an_alarm_teaches_less() -> None:
    minutes, hours = usual(), usual()
    for budget, step in ((minutes, MINUTE), (hours, 60 * MINUTE)):
        budget.resize(1)
        alarms = budget.arrays["alarms"]
        learn_alarm(alarms, 0, 0.0, step, 1.1, 1.0, 0.0)
        learn_alarm(alarms, 0, step, step, 0.1, 1.0, 0.0)
    assert minutes.thresholds()[0] > hours.thresholds()[0] > 1.0


def test_marginal_alarms_as_often_as_the_budget_says_keep_the_threshold() -> None:
    budget = usual()
    every = MONTH_SECONDS / 15.0 / MINUTE
    feed(budget, [0.0] * 5)
    before = budget.thresholds()[0]
    feed(budget, ([1.6] + [0.0] * (round(every) - 1)) * 1)
    # One alarm in one budget's time: what it raised, quiet lowered again, but for its clearness.
    assert budget.thresholds()[0] == pytest.approx(before, rel=0.03)


def test_quiet_lowers_the_threshold_to_its_floor_only() -> None:
    budget = AlarmBudget(1e9, MINUTE)
    feed(budget, [0.0] * 100)
    assert budget.thresholds()[0] == pytest.approx(budget.base * np.exp(LOWEST))
    assert budget.arrays["alarms"][0, IN_ALARM] == 0.0
