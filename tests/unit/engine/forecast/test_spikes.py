"""Samples of an impossible size are not learned from; all else is, and nothing looks ahead."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.forecast.pool import pool_forecast
from sidecar.engine.forecast.spikes import KNOWN, without_spikes
from sidecar.series import FloatArray

DAY = 288


def usual(days: int = 7, seed: int = 1) -> FloatArray:
    rng = np.random.default_rng(seed)
    at = np.arange(days * DAY)
    made: FloatArray = 100.0 + 30.0 * np.sin(at * 2 * np.pi / DAY) + rng.normal(0.0, 3.0, at.size)
    return made


def test_a_spike_is_the_sample_before() -> None:
    y = usual()
    spiked = y.copy()
    spiked[[900, 1300, 1301]] = [2000.0, -900.0, 2000.0]
    calm = without_spikes(spiked, DAY)
    np.testing.assert_array_equal(calm[[900, 1300, 1301]], y[[899, 1299, 1299]])
    rest = np.setdiff1d(np.arange(y.size), [900, 1300, 1301])
    np.testing.assert_array_equal(calm[rest], y[rest])


def made_new_level(y: FloatArray) -> FloatArray:
    return np.where(np.arange(y.size) >= 1000, y + 900.0, y)


def made_daily(y: FloatArray) -> FloatArray:
    return np.where(np.arange(y.size) % DAY == 30, 2000.0, y)


def made_hourly(y: FloatArray) -> FloatArray:
    return np.where(np.arange(y.size) % 12 == 5, 2000.0, y)


@pytest.mark.parametrize(
    ("make", "first"), [(made_new_level, 1002), (made_daily, 2 * DAY), (made_hourly, 2 * KNOWN)]
)
def test_what_stays_or_comes_again_is_learned(make: object, first: int) -> None:
    """A new level from its third sample on, a daily job from its second day on, an hourly one at once."""
    assert callable(make)
    y = make(usual())
    np.testing.assert_array_equal(without_spikes(y, DAY)[first:], y[first:])


def test_nothing_looks_ahead() -> None:
    y = usual(3)
    y[np.random.default_rng(2).integers(0, y.size, 12)] *= 15.0
    whole = without_spikes(y, DAY)
    for until in (KNOWN, 333, 500, y.size - 1):
        np.testing.assert_array_equal(without_spikes(y[:until], DAY), whole[:until])


@pytest.mark.parametrize("y", [np.empty(0), np.zeros(1), np.full(900, 7.0), np.repeat([0.0, 5.0], 450)])
def test_what_has_no_range_stays_as_it_is(y: FloatArray) -> None:
    np.testing.assert_array_equal(without_spikes(y, DAY), y)


def test_forecasts_heed_no_spikes() -> None:
    y = usual(9)
    history, truth = y[:-DAY], y[-DAY:]
    spiked = history.copy()
    spiked[np.random.default_rng(3).integers(0, history.size - 5, 12)] *= 20.0
    clean, after = (pool_forecast(one, 300.0, DAY)[0] for one in (history, spiked))
    error, more = (float(np.mean(np.abs(f.yhat - truth))) for f in (clean, after))
    assert more < 1.2 * error
    assert np.mean(after.upper - after.lower) < 1.5 * np.mean(clean.upper - clean.lower)


def test_of_the_newest_samples_a_forecast_doubts() -> None:
    y = usual(9)
    sure = pool_forecast(y, 300.0, 12)[0]
    y[-1] = 2000.0
    doubting = pool_forecast(y, 300.0, 12)[0]
    assert np.mean(doubting.upper - doubting.lower) > 3.0 * np.mean(sure.upper - sure.lower)
    np.testing.assert_allclose(doubting.yhat, sure.yhat, atol=100.0, err_msg="of a leap by 1,900")
