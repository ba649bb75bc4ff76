"""Crossings of thresholds and scenarios, on forecasts whose truth is known."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from sidecar.engine.forecast.crossing import Threshold, first_step, probabilities
from sidecar.engine.forecast.scenario import Scenario, need
from sidecar.engine.forecast.series import forecast_series
from sidecar.errors import ModelError
from sidecar.series import FloatArray

Z = NormalDist().inv_cdf(0.975)


def normal(mean: list[float], deviation: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    yhat = np.array(mean)
    return yhat, yhat - Z * deviation, yhat + Z * deviation


@pytest.mark.parametrize(
    ("text", "mean", "expected"),
    [
        pytest.param("> 10", 10.0, 0.5, id="expected to lie on it"),
        pytest.param("> 10", 8.0, 0.0228, id="two deviations below"),
        pytest.param("> 10", 11.0, 0.8413, id="one beyond"),
        pytest.param("< 10", 11.0, 0.1587, id="a floor, one above"),
        pytest.param("<= 10", 9.0, 0.8413, id="a floor, one below"),
    ],
)
def test_probability_beyond_is_that_of_the_normal_distribution(
    text: str, mean: float, expected: float
) -> None:
    found = probabilities(Threshold.parse(text), *normal([mean], 1.0), 0.95)
    assert found[0] == pytest.approx(expected, abs=1e-4)


def test_each_side_has_its_own_width() -> None:
    yhat, lower, upper = np.array([10.0]), np.array([10 - 1 * Z]), np.array([10 + 4 * Z])
    above = probabilities(Threshold(14.0, above=True), yhat, lower, upper, 0.95)
    below = probabilities(Threshold(9.0, above=False), yhat, lower, upper, 0.95)
    assert above[0] == pytest.approx(below[0]) == pytest.approx(0.1587, abs=1e-4)


@pytest.mark.parametrize(("threshold", "expected"), [(4.0, 1.0), (5.0, 0.0), (6.0, 0.0)])
def test_without_width_it_is_certain_either_way(threshold: float, expected: float) -> None:
    flat = np.array([5.0])
    assert probabilities(Threshold(threshold, above=True), flat, flat, flat, 0.95).tolist() == [expected]


@pytest.mark.parametrize(
    ("text", "value", "crossed"),
    [
        pytest.param("< 0.9", np.nextafter(0.9, 0.0), False, id="nine of ten are up, but for a rounding"),
        pytest.param("< 0.9", float(np.float32(0.9)), False, id="the same in single precision"),
        pytest.param("<= 0.9", np.nextafter(0.9, 1.0), True, id="which is asked for"),
        pytest.param("> 0.1", float(np.float32(0.1)), False, id="one of ten fails"),
        pytest.param(">= 100", 100.0, True, id="full"),
        pytest.param("> 0", 0.0, False, id="none"),
        pytest.param(">= 0", 0.0, True, id="none, which is asked for"),
        pytest.param("< 0.9", 0.9 - 1e-6, True, id="more than a rounding"),
    ],
)
def test_what_stands_at_its_threshold_is_beyond_where_that_is_inclusive(
    text: str, value: float, crossed: bool
) -> None:
    flat = np.array([value])
    assert probabilities(Threshold.parse(text), flat, flat, flat, 0.95)[0] == float(crossed)


def test_where_it_may_move_either_way_it_is_no_more_likely_than_not_to_cross() -> None:
    at, wide = np.array([float(np.float32(0.9))]), np.array([0.01])
    assert probabilities(Threshold.parse("< 0.9"), at, at - wide, at + wide, 0.95)[0] < 0.5
    assert probabilities(Threshold.parse("<= 0.9"), at, at - wide, at + wide, 0.95)[0] > 0.5


def test_a_disk_that_fills_is_announced_about_when_it_is_full() -> None:
    at = np.arange(7 * 288)
    used = 20 + 60 * at / len(at) + np.random.default_rng(0).normal(0, 0.2, len(at))
    times = at.astype(np.int64) * 300_000
    found = forecast_series(times, used, step_seconds=300, horizon_steps=3 * 288, ceiling=100.0)
    chances = probabilities(Threshold.parse("> 90"), found.yhat, found.lower, found.upper, 0.95)
    step = first_step(chances, 0.5)
    true_step = 10 / 60 * len(at)
    assert step is not None
    assert abs(step - true_step) < 0.3 * true_step
    careful = first_step(chances, 0.1)
    assert careful is not None
    assert careful <= step
    assert first_step(chances[:10], 0.5) is None


@pytest.mark.parametrize("text", ["90", "> much", ">> 3", "> inf", "> nan", ""])
def test_what_is_no_threshold_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="threshold"):
        Threshold.parse(text)


def test_a_scenario_multiplies_its_part_of_time_alone() -> None:
    times = (1000 + np.arange(1, 7)) * 3600_000
    scenario = Scenario.parse("3.5x for 2h in 1h")
    assert scenario == Scenario(3.5, 7200.0, 3600.0)
    (found,) = scenario.apply(times, 1000 * 3600_000, np.full(6, 10.0))
    assert found.tolist() == [10.0, 35.0, 35.0, 10.0, 10.0, 10.0]


@pytest.mark.parametrize(
    "text", ["3.5", "x for 2h", "3x for ever", "0x for 1h", "2x for 0", "2x for 1h in a while"]
)
def test_what_is_no_scenario_is_refused(text: str) -> None:
    with pytest.raises(ModelError):
        Scenario.parse(text)


def test_replicas_bear_the_upper_bound_of_the_peak() -> None:
    found = need(np.array([1.0, 5.0, 4.0]), np.array([2.0, 6.0, 10.5]), 2.0)
    assert (found.step, found.yhat, found.upper, found.replicas) == (1, 5.0, 10.5, 6)
    assert need(np.array([1.0]), np.array([2.0]), None).replicas is None
