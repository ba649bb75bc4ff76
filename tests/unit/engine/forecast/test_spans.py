"""Near and far horizons together: order, grids, saving, and a month ahead."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.forecast.spans import SpanForecaster
from sidecar.series import LabelSet, SeriesBatch

HOUR = 3600.0
DAY = 24 * HOUR
STEP_MS = 3_600_000
START = 1_790_000_000_000 // STEP_MS * STEP_MS


def weeks(n_days: int) -> SeriesBatch:
    """Growth over months, with a weekly course."""
    hours = np.arange(n_days * 24)
    values = 100.0 + 0.05 * hours + 10.0 * np.sin(2 * np.pi * hours / 168)
    noise = np.random.default_rng(2).normal(0.0, 0.5, len(hours))
    return SeriesBatch("q", (LabelSet({"a": "b"}),), START + hours * STEP_MS, (values + noise)[None, :])


def test_a_month_ahead_is_forecast_on_a_grid_of_its_own() -> None:
    forecaster = SpanForecaster((HOUR, DAY, 7 * DAY, 30 * DAY), HOUR)
    assert forecaster.far is not None
    assert (forecaster.near.slot_seconds, forecaster.far.slot_seconds) == (HOUR, 4 * HOUR)
    history, everything = weeks(120), weeks(150)
    forecaster.resize(1)
    forecaster.update(history)
    assert forecaster.work(1000.0) == 2
    found = forecaster.predict()
    assert [f.horizon_seconds for f in found] == [HOUR, DAY, 7 * DAY, 30 * DAY]
    for forecast in found:
        truth = everything.values[0, 120 * 24 - 1 + round(forecast.horizon_seconds / HOUR)]
        assert forecast.yhat[0] == pytest.approx(truth, rel=0.06)
        assert forecast.lower[0] < forecast.yhat[0] < forecast.upper[0]


@pytest.mark.parametrize("horizons", [(HOUR, DAY), (7 * DAY,), ()], ids=["near alone", "far alone", "none"])
def test_what_is_not_asked_for_costs_nothing_and_nothing_is_lost_in_a_restart(
    horizons: tuple[float, ...],
) -> None:
    forecaster = SpanForecaster(horizons, HOUR)
    forecaster.resize(1)
    forecaster.update(weeks(40))
    forecaster.work(1000.0)
    again = SpanForecaster(horizons, HOUR).restore(forecaster.state())
    assert again.n_rows == forecaster.n_rows
    for ours, theirs in zip(forecaster.predict(), again.predict(), strict=True):
        np.testing.assert_array_equal(ours.yhat, theirs.yhat)
    assert len(forecaster.predict()) == len(horizons)
