"""Drift is seen when expectations stay off, not in noise or spikes, and is over when they fit again."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.drift import PageHinkley
from sidecar.series import FloatArray

N, T = 50, 1500


def steps_until(deviations: FloatArray) -> FloatArray:
    """The step at which each row is first called drifting; NaN for never."""
    test = PageHinkley()
    test.resize(len(deviations))
    first = np.full(len(deviations), np.nan)
    for t, column in enumerate(deviations.T):
        test.observe(column)
        first = np.where(np.isnan(first) & test.drifting(), t, first)
    return first


def noise(seed: int = 1, memory: float = 0.0) -> FloatArray:
    rng = np.random.default_rng(seed)
    found = rng.normal(0, 0.3, (N, T))
    for t in range(1, T):
        found[:, t] += memory * (found[:, t - 1] - found[:, t])
    return found


@pytest.mark.parametrize(
    "deviations",
    [
        pytest.param(noise(), id="noise"),
        pytest.param(noise(memory=0.5), id="noise with a memory"),
        pytest.param(noise() + 0.1, id="a little off"),
        pytest.param(np.where(np.arange(T) % 60 == 0, 50.0, noise()), id="spikes"),
        pytest.param(np.full((N, T), np.nan), id="nothing"),
    ],
)
def test_no_drift(deviations: FloatArray) -> None:
    assert np.isnan(steps_until(deviations)).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_shift_that_stays_is_seen_and_its_end_too(sign: int) -> None:
    deviations = noise()
    deviations[:, 500:] += sign * 0.6
    found = steps_until(deviations)
    assert ((found > 510) & (found < 620)).all()
    test = PageHinkley()
    test.resize(N)
    for column in deviations.T:
        test.observe(column)
    assert test.drifting().all()
    for column in noise(2).T[:400]:
        test.observe(column)
    assert not test.drifting().any()
