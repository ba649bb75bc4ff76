"""A spike or a step in the newest samples leaves a forecast near the usual, with an interval that says so."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.forecast.doubt import beyond_usual, middle, spread
from sidecar.engine.forecast.pool import pool_forecast, select
from sidecar.series import FloatArray

STEP = 300.0
DAY = 288


def calm(n_days: int = 14) -> FloatArray:
    at = np.arange(n_days * DAY)
    noise = np.random.default_rng(0).normal(0.0, 0.1, len(at))
    return np.asarray(10.0 + np.sin(2.0 * np.pi * at / DAY) + noise)


@pytest.mark.parametrize(
    ("n_newest", "off"),
    [
        pytest.param(1, 500.0, id="a spike"),
        pytest.param(6, 50.0, id="a step half an hour ago"),
        pytest.param(1, -10.0, id="a zero"),
    ],
)
def test_what_never_was_leaves_the_usual_within_the_interval(n_newest: int, off: float) -> None:
    values = calm(15)
    seen = values[: 14 * DAY].copy()
    seen[-n_newest:] += off
    found = pool_forecast(seen, STEP, DAY)[0]
    future = values[14 * DAY :]
    hours = slice(3 * n_newest, None)
    assert ((future >= found.lower) & (future <= found.upper))[hours].mean() > 0.88
    assert np.median(np.abs(found.yhat - future)) < 2.0
    assert (found.lower <= found.yhat).all()
    assert (found.yhat <= found.upper).all()


def test_a_calm_series_is_in_no_doubt() -> None:
    values = calm()
    chosen = select(values, STEP, DAY)
    width = [np.ptp(np.stack([f.lower, f.upper]), axis=0).mean() for f in map(chosen.forecast, _ends(values))]
    assert max(width) < 1.5 * min(width)


def _ends(values: FloatArray) -> list[FloatArray]:
    return [values[: 13 * DAY + 40 * k] for k in range(1, 8)]


def test_rules_that_differ_as_before_add_nothing_and_others_what_is_beyond() -> None:
    said, shares = np.array([[0.0, 0.0], [10.0, 10.0]]), np.full((2, 2), 0.5)
    assert spread(said[:, None], shares)[0].tolist() == [5.0, 5.0]
    assert beyond_usual(said, shares, np.array([5.0, 3.0])).tolist() == [0.0, 8.0]


def test_the_middle_is_not_dragged_along_by_a_few() -> None:
    said = np.array([[510.0, 1.0], [10.0, 2.0], [11.0, 3.0]])
    shares = np.array([[0.2, 0.2], [0.5, 0.2], [0.3, 0.6]])
    assert middle(said, shares).tolist() == [10.0, 3.0]
