"""What warnings would have been worth: on disks that filled, series that never do, and what came late."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.forecast.crossing import Threshold
from sidecar.engine.forecast.replay import NOTHING, Warnings, _matched, replay
from sidecar.series import FloatArray

DAY = 288
N = 4 * DAY
STEP = 300.0
AT_90 = Threshold(90.0, above=True)


def disk(*begins: int) -> FloatArray:
    """At 40; from each of these steps on it fills by 60 in six hours, and is tidied up half an hour later."""
    values = 40.0 + np.random.default_rng(1).normal(0.0, 0.1, N)
    for begin in begins:
        values[begin : begin + 78] += np.minimum(np.arange(78), 72) * 60 / 72
    return values


def test_each_filling_is_warned_of_hours_ahead() -> None:
    found = replay(disk(N - 260, N - 120), STEP, AT_90, warn_seconds=6 * 3600, first=3 * DAY)
    assert (found.n_warnings, found.n_true, found.n_crossings) == (2, 2, 2)
    assert min(found.leads_seconds) >= 2.5 * 3600
    assert found.precision == 1.0


def test_a_series_that_has_just_begun_is_waited_for() -> None:
    young = disk(N - 120)
    young[: 3 * DAY] = np.nan
    found = replay(young, STEP, AT_90, warn_seconds=6 * 3600, first=3 * DAY, every_seconds=STEP)
    assert found.n_crossings == 1
    only = np.array([40.0, 89.0])
    assert replay(only, STEP, AT_90, warn_seconds=6 * 3600, first=0, every_seconds=STEP) == NOTHING


@pytest.mark.parametrize(
    "grid",
    [
        pytest.param(disk(), id="still"),
        pytest.param(np.full(N, 40.0), id="constant"),
        pytest.param(20.0 + np.arange(N) % 36 * 1.5, id="sawtooth below the threshold"),
    ],
)
def test_nothing_is_said_of_what_never_crosses(grid: FloatArray) -> None:
    assert replay(grid, STEP, AT_90, warn_seconds=4 * 3600, first=N - DAY // 2) == NOTHING


@pytest.mark.parametrize(
    ("spans", "starts", "counts", "leads"),
    [
        pytest.param([(10, 40)], [30], (1, 1, 1), (9000 - 3600.0,), id="in time"),
        pytest.param([(10, 20)], [], (1, 0, 0), (), id="nothing came"),
        pytest.param([(10, 20)], [90], (1, 0, 1), (), id="long after"),
        pytest.param([(30, 40)], [25], (0, 0, 1), (), id="told after the fact"),
        pytest.param([(170, 180)], [], (0, 0, 0), (), id="may yet come true"),
        pytest.param([], [25], (0, 0, 1), (), id="never told"),
    ],
)
def test_warnings_meet_their_crossings(
    spans: list[tuple[int, int]], starts: list[int], counts: tuple[int, ...], leads: tuple[float, ...]
) -> None:
    found = _matched(spans, starts, held=2, grace=30, n=200, step_seconds=STEP)
    assert (found.n_warnings, found.n_true, found.n_crossings) == counts
    assert found.leads_seconds == leads


def test_pasts_add_up() -> None:
    both = Warnings(1, 1, 1, (60.0,)) + Warnings(1, 0, 2, (120.0,))
    assert (both.precision, both.median_lead_seconds, both.n_crossings) == (0.5, 90.0, 3)
    assert NOTHING.precision is None
    assert NOTHING.median_lead_seconds is None
