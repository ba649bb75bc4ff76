"""Changes of the input are found within a day or so; seasons are none; what was before is forgotten."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.adwin import HOUR_MS, AdaptiveWindow, InputDrift
from sidecar.series import FloatArray

N = 60


def delays(shift: float, hours: int = 200) -> tuple[FloatArray, int]:
    """Values from a change to the first cut, NaN where there is none; cuts before the change."""
    rng = np.random.default_rng(1)
    window = AdaptiveWindow()
    window.resize(N)
    values = rng.normal(0, 0.3, (hours, N))
    values[hours // 2 :] += shift
    found, early = np.full(N, np.nan), 0
    for at, column in enumerate(np.clip(values, -1, 1)):
        cut = window.observe(column)
        if at < hours // 2:
            early += int(cut.sum())
        else:
            found = np.where(cut & np.isnan(found), at - hours // 2 + 1, found)
    return found, early


@pytest.mark.parametrize(("shift", "at_most"), [(1.0, 16), (0.8, 25), (0.6, 40)])
def test_a_shift_is_found_the_sooner_the_larger(shift: float, at_most: int) -> None:
    found, early = delays(shift)
    assert early == 0
    assert np.median(found) <= at_most


def test_where_nothing_changes_nothing_is_cut() -> None:
    found, early = delays(0.0, hours=600)
    assert (early, int(np.isfinite(found).sum())) == (0, 0)


def test_what_was_before_a_change_is_forgotten() -> None:
    window = AdaptiveWindow()
    window.resize(1)
    for value in [0.0] * 60 + [1.0] * 30:
        window.observe(np.array([value]))
    kept = window.arrays["buckets"][0].reshape(-1, 3).sum(axis=0)
    assert kept[1] / kept[0] > 0.9, "hardly anything but the new level is left"
    assert not window.observe(np.array([np.nan])).any()


def inputs(factor: float, weeks: int = 3) -> InputDrift:
    """Weeks of ten-minute steps with days and weekends, the last day of them changed."""
    drift, rng = InputDrift(), np.random.default_rng(2)
    drift.resize(N)
    steps = np.arange(weeks * 7 * 144)
    course = (1 + 0.5 * np.sin(2 * np.pi * steps / 144)) * np.where(steps // 144 % 7 >= 5, 0.6, 1.0)
    for at, usual in enumerate(course):
        values = 100 * usual * (1 + rng.normal(0, 0.05, N))
        if at >= len(steps) - 144:
            values[: N // 2] *= factor
        drift.observe(at * HOUR_MS // 6, values)
    return drift


def test_days_and_weekends_are_no_change_but_a_tenth_more_is() -> None:
    assert not inputs(1.0).changed().any()
    changed = inputs(1.1).changed()
    assert changed[: N // 2].mean() > 0.95
    assert not changed[N // 2 :].any()


def test_another_series_in_the_row_begins_anew() -> None:
    drift = inputs(1.3, weeks=2)
    drift.reset(np.arange(N))
    assert not drift.changed().any()
    drift.resize(N + 1)
    drift.observe(10**12, np.full(N + 1, np.nan))
    assert len(drift.changed()) == N + 1


def test_an_outage_in_the_first_week_is_no_change_of_later_ones() -> None:
    drift, rng = InputDrift(), np.random.default_rng(4)
    drift.resize(N)
    changed = 0
    for hour in range(26 * 24):
        if 24 <= hour < 54:
            continue
        drift.observe(hour * HOUR_MS, 100 + 10 * np.sin(2 * np.pi * hour / 24) + rng.normal(0, 1, N))
        changed += int(drift.changed().sum())
    assert changed == 0
