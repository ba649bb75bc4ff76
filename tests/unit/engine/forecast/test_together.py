"""One model for all series: it learns from others what one does not show, within its time."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.forecast import together
from sidecar.engine.forecast.compare import Case, compare
from sidecar.engine.forecast.library import GLOBAL
from sidecar.engine.forecast.together import train
from sidecar.errors import ModelError
from sidecar.series import FloatArray

HOUR = 3600.0
DAY = 24


def shops(n_series: int, n_days: int, seed: int = 3) -> list[FloatArray]:
    """Series of one daily shape, of very different levels."""
    rng = np.random.default_rng(seed)
    at = np.arange(n_days * DAY)
    shape = np.maximum(np.sin(2 * np.pi * at / DAY), 0.0) ** 3
    return [
        level * (1.0 + 2.0 * shape + rng.normal(0.0, 0.05, len(at)))
        for level in 10.0 ** rng.uniform(0, 4, n_series)
    ]


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for these shapes."""
    monkeypatch.setattr(together, "MAX_TREES", 40)


def test_a_series_that_is_new_is_forecast_from_what_the_others_do() -> None:
    *known, new = shops(6, 14)
    young = new[: 3 * DAY + 5]
    histories = [one[: 13 * DAY] for one in known]
    found = train(histories, HOUR, DAY).forecast(young, HOUR, DAY)
    future = new[len(young) : len(young) + DAY]
    assert np.abs(found.yhat - future).mean() < 0.15 * future.mean()
    assert (found.lower <= found.yhat).all()
    assert (found.yhat <= found.upper).all()
    assert ((future >= found.lower) & (future <= found.upper)).mean() > 0.7


def test_a_short_time_means_fewer_trees_but_a_model() -> None:
    late = iter(range(0, 10**6, 100))
    model = train(shops(3, 10), HOUR, DAY, budget_seconds=1.0, clock=lambda: next(late))
    assert {one.max_iter for one in model._models} == {together.TREES_AT_ONCE}
    assert np.isfinite(model.forecast(shops(3, 10)[0], HOUR, DAY).yhat).all()


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(ModelError, match="long enough"):
        train([np.array([1.0, 2.0])], HOUR, DAY)


def test_the_comparison_trains_it_on_all_series() -> None:
    cases = [Case(str(n), values, HOUR) for n, values in enumerate(shops(4, 16))]
    *_, last = compare(
        cases,
        ["seasonal_naive", GLOBAL],
        horizon_of=lambda _: DAY,
        n_origins=2,
        budget_seconds=1e6,
    )
    by_name = {standing.name: standing for standing in last}
    assert len(by_name[GLOBAL].mase) == 8
    assert by_name[GLOBAL].rank < 1.0
    assert not by_name[GLOBAL].failures
