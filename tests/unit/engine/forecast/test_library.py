"""Models to compare with: what their libraries leave to us."""

from __future__ import annotations

import numpy as np

from sidecar.engine.forecast.library import growth_of_ets


def test_errors_of_exponential_smoothing_grow_as_statsmodels_state_space_form_says() -> None:
    # Here, so that not every worker that only reads this file imports them.
    import pandas as pd
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    period, horizon = 12, 40
    wave = np.sin(2 * np.pi * np.arange(10 * period) / period)
    series = pd.Series(10 + wave + np.random.default_rng(0).normal(0, 0.1, len(wave)))
    model = ETSModel(
        series,
        error="add",
        trend="add",
        damped_trend=True,
        seasonal="add",
        seasonal_periods=period,
        initialization_method="known",
        initial_level=10.0,
        initial_trend=0.0,
        initial_seasonal=wave[:period],
    )
    smoothed = model.smooth(np.array([0.3, 0.06, 0.4, 0.9]))
    ahead = smoothed.get_prediction(start=len(series), end=len(series) + horizon - 1)
    variance = np.asarray(ahead.forecast_variance)
    np.testing.assert_allclose(
        growth_of_ets(0.3, 0.06, 0.4, 0.9, period, horizon), np.sqrt(variance / variance[0])
    )
