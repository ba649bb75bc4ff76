"""Trends by day: what grows, what declines, and what is chance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sidecar.engine.trends import by_day, trends
from sidecar.series import FloatArray, LabelSet, SeriesBatch

HOURS = np.arange(28 * 24)


def batch(*rows: FloatArray, first_hour: int = 0) -> SeriesBatch:
    times = ((first_hour + np.arange(len(rows[0]))) * 3_600_000).astype(np.int64)
    labels = tuple(LabelSet({"genre": str(n)}) for n in range(len(rows)))
    return SeriesBatch("q", labels, times, np.stack(rows))


def course(growth_per_week: float = 0.0, seed: int = 0) -> FloatArray:
    """Daily and weekly waves about 100, with noise."""
    waves = 30 * np.sin(2 * np.pi * HOURS / 24) + 10 * np.sin(2 * np.pi * HOURS / 168)
    noise = np.random.default_rng(seed).normal(0, 5, len(HOURS))
    return np.asarray(100 + growth_per_week * HOURS / 168 + waves + noise)


def test_what_grows_and_what_declines_is_found_in_its_order() -> None:
    found = trends(batch(course(), course(3.0, 1), course(-2.0, 2), course(8.0, 3)))
    assert [dict(t.labels)["genre"] for t in found] == ["3", "1", "0", "2"]
    assert [t.significant for t in found] == [True, True, False, True]
    assert found[0].per_week == pytest.approx(8.0, abs=0.5)
    assert found[0].relative_per_week == pytest.approx(8.0 / found[0].level, abs=0.01)


@pytest.mark.parametrize(
    "correlation", [0.0, 0.6], ids=["independent days", "days that depend on each other"]
)
def test_of_series_without_a_trend_few_are_told(correlation: float) -> None:
    rng = np.random.default_rng(7)
    days = rng.normal(0, 3, (200, 28))
    for day in range(1, 28):
        days[:, day] += correlation * days[:, day - 1]
    rows = 100 + np.repeat(days, 24, axis=1)
    assert sum(t.significant for t in trends(batch(*rows))) <= 10


@pytest.mark.parametrize(
    ("row", "relative"),
    [
        pytest.param(np.full(28 * 24, 5.0), 0.0, id="constant"),
        pytest.param(np.zeros(28 * 24), 0.0, id="zero"),
        pytest.param(np.where(HOURS >= 24 * 27, 5.0, 0.0), 0.0, id="new today"),
        pytest.param(np.where(HOURS % 50 < 3, 1.7e308, 5.0), 0.0, id="the largest double at times"),
    ],
)
def test_odd_series_have_no_trend(row: FloatArray, relative: float) -> None:
    (found,) = trends(batch(row))
    assert not found.significant
    assert found.relative_per_week == relative
    assert math.isfinite(found.chance)


def test_less_than_a_week_is_not_judged_and_gaps_are_left_out() -> None:
    gappy = course(8.0)
    gappy[100:200] = np.nan
    short = np.where(HOURS < 6 * 24, HOURS.astype(float), np.nan)
    (found,) = trends(batch(gappy, short))
    assert found.significant
    assert found.n_days < 28


def test_days_with_less_than_half_of_their_samples_do_not_count() -> None:
    found = by_day(batch(np.arange(72.0), first_hour=18))
    assert found.shape == (1, 4)
    assert np.isnan(found[0, 0])
    assert found[0, 1] == pytest.approx(np.arange(6, 30).mean())
    assert np.isfinite(found[0, 3])
