"""No alert is given a number that nothing it measures can reach: it would be silent for ever."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rules.adapt.search import Objective
from rules.adapt.solve import NEVER, Proposal, solve
from rules.adapt.whole import most_of
from sidecar.promql.threshold import Comparison
from tests.unit.rules.histories import hourly, proposal

N = 28 * 24
RARE = np.random.default_rng(3).random(N) < 0.05
FULL = np.random.default_rng(3).normal(85, 8, N).clip(0, 100)


@pytest.mark.parametrize(
    ("expr", "values", "most"),
    [
        pytest.param("absent_over_time(x[5m]) > 0", np.where(RARE, 1.0, np.nan), 1, id="absent"),
        pytest.param("100 * used_bytes / size_bytes > 95", FULL, 100, id="percent of a size"),
        pytest.param("100 * (1 - free_bytes / size_bytes) > 95", FULL, 100, id="percent that is not free"),
        pytest.param(
            '100 - avg by (i) (rate(cpu_total{mode="idle"}[5m])) * 100 > 95', FULL, 100, id="percent not idle"
        ),
        pytest.param("1 - free_bytes / size_bytes > 0.95", FULL / 100, 1, id="not free"),
        pytest.param("used_bytes / size_bytes > 0.95", FULL / 100, 1, id="used of a size"),
    ],
)
def test_an_alert_from_above_can_fire(expr: str, values: np.ndarray, most: float) -> None:
    """Those of full disks were given 108 percent, those of what is absent more than the 1 that says so."""
    found = solve(hourly(values, expr), Objective(2))
    if isinstance(found, Proposal):
        assert found.candidate.bound.at(hourly(values, expr).times).max() < most


@pytest.mark.parametrize("expr", ["up < 1", "success_ratio <= 0.5"])
def test_an_alert_from_below_waits_before_it_is_made_to_be_silent(expr: str) -> None:
    values = np.where(RARE & ~np.roll(RARE, 1), 0.0, 1.0)
    found = proposal(solve(hourly(values, expr), Objective(2)))
    assert NEVER not in found.changes
    assert found.after.n_false == 0
    assert found.candidate.bound.at(hourly(values, expr).times).min() >= 0
    assert found.candidate.for_seconds > 0


@pytest.mark.parametrize(
    ("expr", "values", "least", "most"),
    [
        pytest.param("temp > 80 and temp < 95", FULL, 80, 95, id="above, up to the next"),
        pytest.param("temp > 80 unless on (i) temp >= 95", FULL, 80, 95, id="above, unless the next"),
        pytest.param("free < 20 and free > 5", 100 - FULL, 5, 20, id="below, down to the next"),
    ],
)
def test_a_milder_alert_stays_this_side_of_the_graver_one(
    expr: str, values: np.ndarray, least: float, most: float
) -> None:
    """`temp > 80 and temp < 95` was given 100, which both cannot be."""
    told = np.where((least < values) & (values < most) | (values < 80) & (least == 80), values, np.nan)
    found = solve(hourly(told, expr), Objective(2))
    if isinstance(found, Proposal):
        numbers = found.candidate.bound.at(hourly(told, expr).times)
        assert least <= numbers.min()
        assert numbers.max() <= most
        assert abs(numbers - (95 if least == 80 else 5)).min() > 2, "room is left for it to tell of something"


@pytest.mark.parametrize(
    ("measured", "most"),
    [
        pytest.param("avg(up)", 1, id="up"),
        pytest.param("min_over_time(up[5m])", 1, id="over time"),
        pytest.param("avg_over_time((1 - free / size)[10m:])", 1, id="subquery"),
        pytest.param("avg_over_time((load > bool 4)[10m:])", 1, id="bool"),
        pytest.param("(1 - free / size) * 100", 100, id="percent"),
        pytest.param("free / size * 100", 100, id="a hundred times a quotient"),
        pytest.param("waits_ratio * 50", 50, id="a multiple"),
        pytest.param("sum(up)", math.inf, id="a sum"),
        pytest.param("sum(rate(errors_total[5m])) * 60", math.inf, id="a rate"),
        pytest.param("100 * load", math.inf, id="a hundred times what is no quotient"),
        pytest.param("a - b", math.inf, id="a difference"),
        pytest.param("{", math.inf, id="no PromQL"),
    ],
)
def test_the_most_that_an_expression_gives(measured: str, most: float) -> None:
    assert most_of(Comparison(measured, ">", 5.0)) == most
