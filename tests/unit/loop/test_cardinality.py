"""Jumps in the number of series, and the rate of alarms that there really were."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.loop.achieved import AchievedRate
from sidecar.loop.cardinality import Cardinality, Jump

STEP = 60.0


def jumps(*numbers: int) -> list[Jump]:
    follower = Cardinality(STEP)
    return [jump for jump in map(follower.observe, numbers) if jump is not None]


@pytest.mark.parametrize(
    ("then", "rose"),
    [
        pytest.param([100] * 5, None, id="as usual"),
        pytest.param([109] * 5, None, id="a few more"),
        pytest.param([900] * 5, True, id="a label explodes"),
        pytest.param([20] * 5, False, id="most are gone"),
        pytest.param([0] * 5, False, id="all are gone"),
    ],
)
def test_a_jump_is_told_once(then: list[int], rose: bool | None) -> None:
    found = jumps(*[100] * 60, *then)
    assert [jump.rose for jump in found] == ([] if rose is None else [rose])
    assert all(jump.usual == pytest.approx(100) for jump in found)


def test_a_number_that_stays_becomes_usual_and_its_end_is_a_jump_again() -> None:
    found = jumps(*[100] * 60, *[900] * 24 * 60, *[100] * 10)
    assert [jump.rose for jump in found] == [True, False]


def test_few_series_and_first_steps_are_no_jumps() -> None:
    assert jumps(0, 500, 500) == []
    assert jumps(*[1] * 60, 9) == []


def test_what_swings_by_day_is_no_jump() -> None:
    swing = (200 + 90 * np.sin(np.arange(3 * 1440) / 1440 * 2 * np.pi)).astype(int).tolist()
    assert jumps(*swing) == []


def test_the_rate_is_alarms_a_series_and_thirty_days() -> None:
    rate = AchievedRate(STEP)
    assert rate.observe(0, 0) is None
    last = None
    for step in range(10 * 1440):
        last = rate.observe(1 if step % 1440 == 0 else 0, 10)
    # Ten alarms on ten series in ten days; older ones weigh a little less.
    assert last == pytest.approx(3.0, rel=0.05)
