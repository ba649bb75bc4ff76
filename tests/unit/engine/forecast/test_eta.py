"""When thresholds are crossed: runs, what is believed of them, and their mix with the pool's forecast."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sidecar.engine.forecast.crossing import Threshold
from sidecar.engine.forecast.eta import Crossing, crossing, lead_steps, within_reach
from sidecar.engine.forecast.pool import select
from sidecar.engine.forecast.trend import chance_of_rise, current_run
from sidecar.series import FloatArray

STEP = 300.0
DAY = 288
N = 14 * DAY
HOUR = 12
FULL_AT_90 = Threshold(90.0, above=True)


def noisy(values: FloatArray, scale: float = 0.1) -> FloatArray:
    return values + np.random.default_rng(3).normal(0.0, scale, len(values))


def flat_then_filling(n_after: int, rate: float = 50.0 / (6 * HOUR)) -> FloatArray:
    """A disk at 40 that begins to fill and is at 90 six hours later; so many steps after it began."""
    values = np.full(N, 40.0)
    return noisy(np.concatenate([values, 40.0 + rate * np.arange(1, n_after + 1)]))


def sawtooth(n: int, height: float = 54.0, period: int = 36) -> FloatArray:
    return noisy(20.0 + (np.arange(n) % period) * height / period, 0.3)


def ask(grid: FloatArray, threshold: Threshold = FULL_AT_90, horizon_days: float = 7.0) -> Crossing:
    ahead = select(grid, STEP, DAY) if within_reach(grid, threshold) else None
    return crossing(grid, STEP, threshold, horizon_seconds=horizon_days * 86400.0, ahead=ahead)


def test_a_run_is_found_with_its_age_and_its_rate() -> None:
    run = current_run(flat_then_filling(24))
    assert run is not None
    assert run.rate == pytest.approx(50.0 / 72, rel=0.05)
    assert 18 <= run.n_steps <= 30
    assert run.level == pytest.approx(40 + 24 * 50 / 72, abs=0.5)


@pytest.mark.parametrize(
    "grid",
    [
        pytest.param(np.full(N, 7.0), id="constant"),
        pytest.param(noisy(np.full(N, 7.0)), id="noise"),
        pytest.param(np.array([1.0, 2.0]), id="two points"),
        pytest.param(np.concatenate([np.full(N, np.nan), [1.0]]), id="one sample"),
        pytest.param(np.concatenate([flat_then_filling(24), np.full(4, 56.7)]), id="came to a halt"),
    ],
)
def test_what_does_not_move_has_no_run(grid: FloatArray) -> None:
    assert current_run(grid) is None


def chance(grid: FloatArray, needed: float, lead: float) -> float:
    """That the series rises by so much within so many steps, where it surely would if the run went on."""
    run = current_run(grid)
    assert run is not None
    return float(chance_of_rise(grid, run, needed, np.array([lead]), np.ones(1))[0])


def test_a_new_run_is_believed_for_six_times_its_age() -> None:
    grid = flat_then_filling(24)
    run = current_run(grid)
    assert run is not None
    assert chance(grid, 1.0, 6.0 * run.n_steps) == pytest.approx(0.5)


def test_runs_that_always_turned_are_not_believed_and_those_that_went_on_are() -> None:
    beyond_a_tooth = 72 * 1.5
    assert chance(sawtooth(N + 18), beyond_a_tooth, 72.0) < 0.1
    assert chance(np.linspace(0.0, 50.0, N), 50.0 / N * 60, 72.0) > 0.9


@pytest.mark.parametrize("hour", [7, 8, 9, 10, 11])
def test_a_morning_that_stays_below_is_not_announced(hour: int) -> None:
    days = np.arange(N + hour * HOUR) / DAY
    grid = noisy(45.0 + 36.0 * np.sin(2 * np.pi * (days - 0.25)), 1.0)
    assert ask(grid).eta_seconds(0.5) == math.inf


def test_a_filling_disk_is_announced_within_the_hour_and_not_before() -> None:
    assert ask(flat_then_filling(0)).eta_seconds(0.5) == math.inf
    announced = next(n for n in range(1, 73) if ask(flat_then_filling(n)).eta_seconds(0.5) < math.inf)
    assert announced <= 13

    def late(n: int) -> float:
        """The time told of a run of this age beside the time that it takes."""
        return ask(flat_then_filling(n)).eta_seconds(0.5) / ((72 - n) * STEP)

    # While it is young, that it may end before it is there makes half of the probability come later.
    assert 1.0 <= late(announced) <= 1.35
    for n in (15, 24, 36, 48, 60):
        assert 0.95 <= late(n) <= (1.2 if n < 24 else 1.12)


@pytest.mark.parametrize("n_after", [3, 9, 18, 30, 35])
def test_a_log_that_is_rotated_in_time_is_not_announced(n_after: int) -> None:
    assert ask(sawtooth(N + n_after)).eta_seconds(0.5) == math.inf


@pytest.mark.parametrize("left", [0, 1, 2, 4])
def test_nor_when_its_tooth_is_as_long_as_the_run_that_is_looked_for(left: int) -> None:
    # 70 steps, of which the longest straight run that is found takes in the very last of the tooth before.
    grid = sawtooth(N // 70 * 70 + 70 - left, height=66.0, period=70)
    assert ask(grid).eta_seconds(0.5) > 6 * 3600.0


@pytest.mark.parametrize("n_after", [12, 29, 60])
def test_nor_is_it_days_ahead_of_which_a_short_past_knows_nothing(n_after: int) -> None:
    grid = sawtooth(4 * DAY + n_after, height=50.0, period=96)
    assert ask(grid).eta_seconds(0.5) == math.inf


def test_a_log_that_is_no_longer_rotated_is() -> None:
    grid = np.concatenate([sawtooth(N), noisy(20.0 + np.arange(40) * 1.5, 0.3)])
    assert ask(grid).eta_seconds(0.5) < 2 * 3600


def test_growth_over_weeks_is_followed_for_days() -> None:
    # 50 in 14 days, from 20: at 70 now, at 90 in 5.6 days.
    grid = noisy(20.0 + 50.0 * np.arange(N) / N, 0.3)
    assert ask(grid).eta_seconds(0.5) == pytest.approx(5.6 * 86400, rel=0.1)
    assert ask(grid, horizon_days=3.0).eta_seconds(0.5) == math.inf


def test_a_daily_peak_is_announced_by_the_pool() -> None:
    seconds = np.arange(N + 6 * HOUR) / DAY
    grid = noisy(50.0 + 40.0 * np.sin(2 * np.pi * (seconds - 0.25)), 1.0)
    # It is six o'clock; 80 is crossed at about half past nine.
    eta = ask(grid, Threshold(80.0, above=True)).eta_seconds(0.5)
    assert eta == pytest.approx(3.2 * 3600, abs=1800)


def test_below_is_above_turned_over() -> None:
    grid = flat_then_filling(24)
    up = ask(grid).eta_seconds(0.5)
    down = ask(-grid, Threshold(-90.0, above=False)).eta_seconds(0.5)
    assert down == pytest.approx(up, abs=STEP)


def test_what_is_beyond_now_has_no_time_left() -> None:
    assert ask(np.full(N, 95.0)).eta_seconds(0.9) == 0.0


@pytest.mark.parametrize(
    ("text", "value", "now"),
    [
        pytest.param(">= 100", 100.0, True, id="at the top"),
        pytest.param("> 100", 100.0, False, id="beyond the top"),
        pytest.param("<= 0", 0.0, True, id="nothing left"),
        pytest.param("< 0", 0.0, False, id="less than nothing"),
    ],
)
def test_what_stands_at_a_bound_is_beyond_it_where_the_rule_says_so(
    text: str, value: float, now: bool
) -> None:
    threshold = Threshold.parse(text)
    assert (ask(np.full(N, value), threshold).eta_seconds(0.5) == 0.0) is now
    assert str(threshold) == text.replace("=", "")


def test_leads_are_fine_for_a_day_then_hourly() -> None:
    leads = lead_steps(STEP, 7 * 86400.0)
    assert leads[:DAY].tolist() == list(range(1, DAY + 1))
    assert set(np.diff(leads[DAY:])) == {12}
    assert leads[-1] == 7 * DAY
    assert lead_steps(STEP, 3600.0).tolist() == list(range(1, 13))
