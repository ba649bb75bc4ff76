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
    OWN_GAIN,
    OWN_SHARE,
    STEP,
    STRICTER,
    UNIT_BUDGET,
    AlarmBudget,
    learn_alarm,
    threshold_at,
)

MINUTE = 60.0
ALL_IN_ALL = 1.0 - OWN_SHARE + OWN_SHARE * OWN_GAIN
"""In steps: what one marginal alarm raises the bar by, for the statistic that raised it."""


def feed(budget: AlarmBudget, values: list[float], start: float = 1e9) -> list[float]:
    """The thresholds that these values met, one a minute."""
    if not budget.n_rows:
        budget.resize(1)
    alarms = budget.arrays["alarms"]
    met = []
    for at, value in enumerate(values):
        now = start + at * MINUTE
        threshold = threshold_at(alarms, 0, now, budget.base)
        stricter = 1.0 + alarms[0, STRICTER]
        met.append(threshold * stricter)
        learn_alarm(alarms, 0, now, MINUTE, value / stricter, threshold, budget.per_second, 0)
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
    assert met[3] == pytest.approx((1 + AFTERMATH) * np.exp(ALL_IN_ALL * STEP), rel=0.02)


def test_a_clear_alarm_teaches_less_than_a_marginal_one() -> None:
    marginal, clear = usual(), usual()
    feed(marginal, [1.05, 0.0])
    feed(clear, [9.0, 0.0])
    assert marginal.thresholds()[0] > clear.thresholds()[0] > 1.0


def test_alarms_as_often_as_the_budget_says_settle_and_rarer_ones_do_not() -> None:
    """Of one statistic after years; with no alarm at all everything sinks to its floor."""
    often, never = usual(), usual()
    month = round(MONTH_SECONDS / UNIT_BUDGET / MINUTE)
    # What quiet takes back in a budget's time is a share of what one marginal alarm teaches.
    feed(often, [0.0] * 5)
    before = often.thresholds()[0] * (1 + often.arrays["alarms"][0, STRICTER])
    feed(often, [1.2 * before] + [0.0] * (month - 1))
    after = often.thresholds()[0] * (1 + often.arrays["alarms"][0, STRICTER])
    assert after > before
    feed(often, [0.0] * 3 * month)
    assert often.thresholds()[0] * (1 + often.arrays["alarms"][0, STRICTER]) < before
    feed(never, [0.0] * month)
    assert never.thresholds()[0] < 1.0


def test_a_noisy_statistic_does_not_deafen_the_others() -> None:
    budget = usual()
    met = feed(budget, [1.2, 0.5] * 3)
    alarms = budget.arrays["alarms"][0]
    assert met[-1] > 1.3
    assert not alarms[STRICTER + 1 :].any()
    assert budget.thresholds()[0] < 1.0 + 0.5 * (met[-1] / (1 + AFTERMATH) - 1.0)


def test_with_long_steps_an_alarm_teaches_less() -> None:
    minutes, hours = AlarmBudget(UNIT_BUDGET, MINUTE), AlarmBudget(UNIT_BUDGET, MINUTE)
    for budget, step in ((minutes, MINUTE), (hours, 60 * MINUTE)):
        budget.resize(1)
        alarms = budget.arrays["alarms"]
        learn_alarm(alarms, 0, 0.0, step, 1.1, 1.0, 0.0, 0)
        learn_alarm(alarms, 0, step, step, 0.1, 1.0, 0.0, 0)
    assert minutes.thresholds()[0] > hours.thresholds()[0] > 1.0 * hours.base


def test_quiet_lowers_the_threshold_to_its_floor_only() -> None:
    budget = AlarmBudget(1e9, MINUTE)
    feed(budget, [0.0] * 100)
    assert budget.thresholds()[0] == pytest.approx(budget.base * np.exp(LOWEST))
    assert budget.arrays["alarms"][0, IN_ALARM] == 0.0
