"""How an alert with `for: 5m` on the default detector behaves in incidents: one-minute steps, 5 % noise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sidecar.engine.offline import score_series
from sidecar.series import BoolArray, FloatArray

DAY = 1440
START = 1_790_000_000 // 86400 * 86400
FOR = 5
Incident = Callable[[FloatArray, int], int]


def platform(kind: str, days: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    t = np.arange(days * DAY)
    level = np.full(len(t), 100.0) if kind == "flat" else 100 * (1 + 0.5 * np.sin(2 * np.pi * t / DAY))
    return level * (1 + 0.05 * rng.normal(size=len(t)))


def firing(values: FloatArray) -> BoolArray:
    """Where an alert on `anomaly_score > 1` with `for: 5m` fires."""
    times = ((START + 60 * np.arange(len(values))) * 1000).astype(np.int64)
    _, score = score_series(times, values)
    flagged = np.nan_to_num(score.anomaly_score[0]) > 1
    run = np.zeros(len(flagged), dtype=np.int64)
    for at in range(1, len(flagged)):
        run[at] = run[at - 1] + 1 if flagged[at] else 0
    return run > FOR


def times_(factor: float, minutes: int) -> Incident:
    def happen(values: FloatArray, at: int) -> int:
        values[at : at + minutes] *= factor
        return at + minutes

    return happen


def after_spike(hours: int) -> Incident:
    def happen(values: FloatArray, at: int) -> int:
        values[at - hours * 60 - 5 : at - hours * 60] *= 50
        return times_(3, 60)(values, at)

    return happen


INCIDENTS = {
    # name: what happens, fires within minutes, on which share it stays where the series is flat
    "double for 30 min": (times_(2, 30), 6, 0.8),
    "double for 3 h": (times_(2, 180), 6, 0.9),
    "triple": (times_(3, 60), 6, 0.9),
    "zero": (times_(0, 60), 6, 0.9),
    "40 % down": (times_(0.6, 60), 10, 0.5),
    "40 % up": (times_(1.4, 60), 10, 0.5),
    "70 % down": (times_(0.3, 60), 6, 0.9),
    "triple 2 h after a spike": (after_spike(2), 6, 0.9),
    "triple 6 h after a spike": (after_spike(6), 6, 0.9),
    "triple 12 h after a spike": (after_spike(12), 6, 0.9),
    "triple 20 h after a spike": (after_spike(20), 6, 0.9),
}


@pytest.mark.parametrize("kind", ["flat", "daily"])
@pytest.mark.parametrize("name", INCIDENTS)
def test_it_fires_in_time_and_stays(name: str, kind: str) -> None:
    happen, within, stays = INCIDENTS[name]
    for seed in range(3):
        at = 14 * DAY + seed * 317  # Another hour of the day each time.
        values = platform(kind, 15, seed)
        end = happen(values, at)
        fires = firing(values)
        assert fires[at : at + within + 3].any(), "does not fire"
        assert int(np.argmax(fires[at:])) <= within
        if kind == "flat":
            assert fires[at:end].mean() >= stays
            assert not fires[end + FOR :].any(), "fires on the recovery"


@pytest.mark.parametrize("kind", ["flat", "daily"])
def test_seventy_percent_down_is_seen_at_any_hour(kind: str) -> None:
    for hour in range(0, 24, 3):
        values = platform(kind, 15, hour)
        at = 14 * DAY + hour * 60
        values[at : at + 30] *= 0.3
        assert int(np.argmax(firing(values)[at:])) <= 6


@pytest.mark.parametrize("kind", ["flat", "daily"])
def test_a_shift_that_stays_is_accepted_and_the_next_incident_is_seen(kind: str) -> None:
    at = 14 * DAY
    values = platform(kind, 18, 1)
    values[at:] *= 2
    values[17 * DAY : 17 * DAY + 30] *= 2
    fires = firing(values)
    assert int(np.argmax(fires[at:])) <= 6
    assert not fires[at + 6 * 60 : 17 * DAY].any()
    assert int(np.argmax(fires[17 * DAY :])) <= 6


@pytest.mark.parametrize("kind", ["flat", "daily"])
def test_clean_days_are_silent(kind: str) -> None:
    for seed in range(3):
        assert not firing(platform(kind, 21, seed))[2 * DAY :].any()


@pytest.mark.parametrize("kind", ["flat", "daily"])
def test_a_series_that_stands_still_is_seen(kind: str) -> None:
    at = 14 * DAY
    values = platform(kind, 15, 2)
    values[at : at + 60] = values[at]
    fires = firing(values)
    assert int(np.argmax(fires[at:])) <= 8
    assert not fires[at + 60 + FOR :].any()


@pytest.mark.parametrize("hours", [1, 2, 4])
def test_a_leak_is_told_as_a_drift_within_days_at_steps_of_hours_too(hours: int) -> None:
    """A sixth of the level a day, in noise of a hundredth."""
    a_day, learning = 24 // hours, 540
    values = 100 + np.random.default_rng(3).normal(0, 1, learning + 3 * a_day)
    values[learning:] += 16 * np.arange(3 * a_day) / a_day
    times = (START // 3600 + hours * np.arange(len(values), dtype=np.int64)) * 3_600_000
    _, score = score_series(times, values, detector="shape")
    told = np.flatnonzero(score.shape[0] == 1)
    assert len(told)
    assert told[0] >= learning


def test_a_slow_leak_is_seen_before_the_level_doubles() -> None:
    at = 14 * DAY
    values = platform("flat", 18, 3)
    values[at : at + 3 * DAY] *= 1 + 0.01 * np.arange(3 * DAY) / 60
    assert 0 < int(np.argmax(firing(values)[at:])) < 3 * DAY
