"""What comes by chance."""

from __future__ import annotations

import numpy as np
import pytest

from rules.adapt.uncertainty import rate_interval, within_by_chance


def test_what_comes_once_a_day_falls_into_few_hours() -> None:
    a_day = 86_400.0
    assert within_by_chance(1 / a_day, 0.0) == 0.0
    assert within_by_chance(1 / a_day, 3600.0) == pytest.approx(0.0408, abs=1e-4)
    assert within_by_chance(1 / a_day, 30 * a_day) == pytest.approx(1.0)


@pytest.mark.parametrize("usual_size", [1, 6, 20])
@pytest.mark.parametrize("usual_count", [5.0, 12.0])
def test_the_interval_holds_the_rate_also_of_what_comes_many_at_a_time(
    usual_size: int, usual_count: float
) -> None:
    """A fault raises the alert of each instance: three such are 60 alerts, and no more sure than three."""
    rng = np.random.default_rng(7)
    rate, inside, n_trials = usual_size * usual_count, 0, 300
    for _ in range(n_trials):
        sizes = rng.integers(1, 2 * usual_size, rng.poisson(usual_count)).tolist()
        low, high = rate_interval(sizes, 1.0)
        inside += low <= rate <= high
    assert inside >= 0.93 * n_trials
