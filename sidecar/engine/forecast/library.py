"""Models of statsmodels, scikit-learn and statsforecast as offline forecasters, one function each.

They are here to be compared with: refitting one costs as much as the whole
pool, so none is in the default. Heavy imports stay inside the functions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from statistics import NormalDist
from typing import Any

import numpy as np

from sidecar.engine.forecast.backtest import pick_leads, targets
from sidecar.engine.forecast.past import Past
from sidecar.engine.forecast.pool import PoolForecast, pool_forecast
from sidecar.engine.forecast.ridge import Features
from sidecar.engine.forecast.rules import View
from sidecar.engine.forecast.together import train
from sidecar.errors import ModelError
from sidecar.series import FloatArray

OfflineModel = Callable[[FloatArray, float, int, float], PoolForecast]
"""(grid, step in seconds, horizon in steps, level) to a forecast of the steps after the grid."""

GLOBAL = "global"
"""The one model that learns from other series than that which it forecasts."""
FIT_DAYS = 14
MAX_SEASON = 288
MAX_FIT_POINTS = 4096
DAY_WAVES, WEEK_WAVES = 8, 4
TREE_ORIGINS = 400
TREE_LEADS = 24


def _load(module: str, name: str) -> Any:
    """A class of a library, imported now: these cost seconds that nothing else should pay."""
    try:
        return getattr(import_module(module), name)
    except ImportError as error:
        raise ModelError(f"needs {module.partition('.')[0]}, which is not installed") from error


def _z(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + level / 2.0)


def _around(yhat: FloatArray, spread: FloatArray, level: float) -> PoolForecast:
    half = _z(level) * spread
    return PoolForecast(yhat, yhat - half, yhat + half)


def _prepared(grid: FloatArray, step_seconds: float) -> tuple[FloatArray, int]:
    """The newest two weeks without gaps, and the daily period in steps; 1 where there is none."""
    past = Past(grid, step_seconds)
    period = past.day if 1 < past.day <= MAX_SEASON else 1
    n = min(max(FIT_DAYS * period, 200), MAX_FIT_POINTS)
    return (past.y + past.centre)[-n:], period


def seasonal_naive(grid: FloatArray, step_seconds: float, horizon: int, level: float) -> PoolForecast:
    """Yesterday again, the yardstick; the last value where there are no two days."""
    past = Past(grid, step_seconds)
    period = past.day or 1
    ahead = np.arange(horizon)
    yhat = past.y[past.n - period + ahead % period] + past.centre
    spread = np.sqrt(np.mean((past.y[period:] - past.y[:-period]) ** 2))
    return _around(yhat, spread * np.sqrt(ahead // period + 1), level)


def drift(grid: FloatArray, step_seconds: float, horizon: int, level: float) -> PoolForecast:
    """The last value and the mean slope so far."""
    past = Past(grid, step_seconds)
    ahead = np.arange(1, horizon + 1)
    slope = (past.y[-1] - past.y[0]) / (past.n - 1)
    spread = np.std(np.diff(past.y) - slope) * np.sqrt(ahead * (1 + ahead / past.n))
    return _around(past.y[-1] + past.centre + slope * ahead, spread, level)


def ets(grid: FloatArray, step_seconds: float, horizon: int, level: float) -> PoolForecast:
    """Additive Holt-Winters with a damped trend (statsmodels)."""
    smoothing = _load("statsmodels.tsa.holtwinters", "ExponentialSmoothing")

    y, period = _prepared(grid, step_seconds)
    fitted = smoothing(
        y,
        trend="add",
        damped_trend=True,
        seasonal="add" if period > 1 else None,
        seasonal_periods=period if period > 1 else None,
        initialization_method="heuristic",
    ).fit(minimize_kwargs={"options": {"maxiter": 60}})
    level_share, trend_share, seasonal_share, damping = (
        float(np.nan_to_num(fitted.params.get(key) or 0.0))
        for key in ("smoothing_level", "smoothing_trend", "smoothing_seasonal", "damping_trend")
    )
    error = float(np.sqrt(np.mean(np.asarray(fitted.resid) ** 2)))
    grown = growth_of_ets(level_share, level_share * trend_share, seasonal_share, damping, period, horizon)
    return _around(np.asarray(fitted.forecast(horizon)), error * grown, level)


def growth_of_ets(
    alpha: float, beta: float, gamma: float, phi: float, period: int, horizon: int
) -> FloatArray:
    """Deviations of forecast errors at each step, (horizon,), in those of one step.

    Of the model in its form with innovations; Holt-Winters' share of the trend is beta / alpha.
    Source: Hyndman, Koehler, Ord & Snyder 2008, "Forecasting with Exponential Smoothing", table 6.1.
    """
    later = np.arange(1, horizon)
    weight = alpha + beta * np.cumsum(phi**later) + gamma * (later % period == 0 if period > 1 else 0)
    return np.sqrt(1 + np.concatenate([[0], np.cumsum(weight**2)]))


def theta(grid: FloatArray, step_seconds: float, horizon: int, level: float) -> PoolForecast:
    """The Theta method, deseasonalised (statsmodels)."""
    model = _load("statsmodels.tsa.forecasting.theta", "ThetaModel")

    y, period = _prepared(grid, step_seconds)
    fitted = model(y, period=max(period, 2), deseasonalize=period > 1, use_test=False, method="add").fit()
    ends = np.asarray(fitted.prediction_intervals(horizon, alpha=1 - level))
    return PoolForecast(np.asarray(fitted.forecast(horizon)), ends[:, 0], ends[:, 1])


def arima(grid: FloatArray, step_seconds: float, horizon: int, level: float) -> PoolForecast:
    """ARIMA(2, 1, 1) on what daily harmonics leave (statsmodels)."""
    model = _load("statsmodels.tsa.arima.model", "ARIMA")

    y, period = _prepared(grid, step_seconds)
    at = np.arange(len(y) + horizon)
    waves = (
        [f(2 * np.pi * k * at / period) for k in (1, 2, 3) for f in (np.sin, np.cos)] if period > 6 else []
    )
    x = np.stack(waves, axis=1) if waves else None
    n = len(y)
    fitted = model(y, exog=None if x is None else x[:n], order=(2, 1, 1)).fit(method_kwargs={"maxiter": 30})
    found = fitted.get_forecast(horizon, exog=None if x is None else x[n:])
    ends = np.asarray(found.conf_int(alpha=1 - level))
    return PoolForecast(np.asarray(found.predicted_mean), ends[:, 0], ends[:, 1])


def mstl(grid: FloatArray, step_seconds: float, horizon: int, level: float) -> PoolForecast:
    """Daily and weekly parts by repeated LOESS, the rest by damped smoothing (statsmodels)."""
    smoothing = _load("statsmodels.tsa.holtwinters", "ExponentialSmoothing")
    decomposition = _load("statsmodels.tsa.seasonal", "MSTL")

    y, period = _prepared(grid, step_seconds)
    if period < 2:
        return ets(grid, step_seconds, horizon, level)
    periods = [p for p in (period, 7 * period) if len(y) > 2 * p and p <= 7 * 48]
    parts = decomposition(y, periods=tuple(periods or [period])).fit()
    season = np.asarray(parts.seasonal).reshape(len(y), -1)
    rest = y - season.sum(axis=1)
    fitted = smoothing(rest, trend="add", damped_trend=True, initialization_method="heuristic").fit()
    ahead = np.arange(horizon)
    again = sum(season[len(y) - p + ahead % p, i] for i, p in enumerate(periods or [period]))
    spread = np.std(np.asarray(fitted.resid)) * np.sqrt(1 + ahead / 4)
    return _around(np.asarray(fitted.forecast(horizon)) + again, spread, level)


def fourier(grid: FloatArray, step_seconds: float, horizon: int, level: float) -> PoolForecast:
    """Linear: a slope, waves of the day and of the week, and the newest error, which fades (scikit-learn)."""
    ridge = _load("sklearn.linear_model", "Ridge")

    y, period = _prepared(grid, step_seconds)
    n = len(y)
    at = np.arange(n + horizon)
    waves = [at / n - 0.5]
    for length, harmonics in ((period, DAY_WAVES), (7 * period, WEEK_WAVES)):
        if period > 2 and n >= 2 * length:
            angles = [2 * np.pi * k * at / length for k in range(1, min(harmonics, length // 2) + 1)]
            waves += [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
    x = np.stack(waves, axis=1)
    said = ridge(alpha=1.0).fit(x[:n], y).predict(x)
    off = y - said[:n]
    # Errors of neighbours are alike: by their correlation today's is carried on.
    alike = float(np.clip(np.corrcoef(off[1:], off[:-1])[0, 1], 0.0, 0.999)) if off.std() > 0 else 0.0
    fading = alike ** np.arange(1, horizon + 1)
    return _around(said[n:] + off[-1] * fading, off.std() * np.sqrt(1.0 - fading**2), level)


def _trees(make: Callable[[float], Any], quantiles: bool) -> OfflineModel:
    def model(grid: FloatArray, step_seconds: float, horizon: int, level: float) -> PoolForecast:
        past = Past(grid, step_seconds)
        features = Features(past)
        first = past.day + 1 if past.day else 4
        train = np.unique(np.linspace(min(first, past.n - 1), past.n - 1, TREE_ORIGINS).astype(np.int64))
        leads = pick_leads(horizon, TREE_LEADS)

        def table(origins: np.ndarray, leads: np.ndarray) -> tuple[FloatArray, FloatArray]:
            view = View(past, origins[:, None], leads[None, :])
            x = features.at(view)
            clock = (origins[None, :] + leads[:, None]) % (past.day or 1)
            lead = np.broadcast_to(leads[:, None], clock.shape)
            x = np.concatenate([x[..., :-1], clock[..., None], lead[..., None]], axis=-1)
            return x.reshape(-1, x.shape[-1]), np.broadcast_to(features.base(view).T, clock.shape).reshape(-1)

        x, base = table(train, leads)
        y = targets(past, train, leads).T.reshape(-1) - base
        known = np.isfinite(y)
        now, now_base = table(np.array([past.n]), np.arange(1, horizon + 1))
        share = (1 - level) / 2
        made = [make(q) for q in ((0.5, share, 1 - share) if quantiles else (0.5,))]
        # One thread: trees this small only wait for each other, badly so on a busy machine.
        with _load("threadpoolctl", "threadpool_limits")(limits=1):
            fitted = [one.fit(x[known], y[known]) for one in made]
        if quantiles:
            said = [one.predict(now) for one in fitted]
        else:
            forest = fitted[0]
            each = np.stack([tree.predict(now) for tree in forest.estimators_])
            left_out = y[known] - forest.oob_prediction_
            middle = np.median(each, axis=0)
            said = [middle, *(middle + np.quantile(left_out, q) for q in (share, 1 - share))]
        yhat, low, high = (one + now_base + past.centre for one in said)
        return PoolForecast(yhat, np.minimum(low, yhat), np.maximum(high, yhat))

    return model


def _booster(quantile: float) -> Any:
    regressor = _load("sklearn.ensemble", "HistGradientBoostingRegressor")

    return regressor(
        loss="quantile",
        quantile=quantile,
        max_iter=80,
        learning_rate=0.1,
        min_samples_leaf=30,
        random_state=0,
    )


def _forest(_: float) -> Any:
    regressor = _load("sklearn.ensemble", "RandomForestRegressor")

    return regressor(60, min_samples_leaf=10, max_samples=0.3, oob_score=True, random_state=0)


def _statsforecast(name: str) -> OfflineModel:
    def model(grid: FloatArray, step_seconds: float, horizon: int, level: float) -> PoolForecast:
        make = _load("statsforecast.models", name)
        y, period = _prepared(grid, step_seconds)
        made = make(season_length=period if period <= 24 else 1)
        percent = round(100 * level, 3)
        found = made.forecast(y=y, h=horizon, level=[percent])
        low, high = next(k for k in found if k.startswith("lo")), next(k for k in found if k.startswith("hi"))
        return PoolForecast(*(np.asarray(found[k]) for k in ("mean", low, high)))

    return model


def pool(grid: FloatArray, step_seconds: float, horizon: int, level: float) -> PoolForecast:
    """What `pronoia forecast` does."""
    return pool_forecast(grid, step_seconds, horizon, level)[0]


def global_trees(grid: FloatArray, step_seconds: float, horizon: int, level: float) -> PoolForecast:
    """The model of all series, of one alone; `compare` trains it on all."""
    return train([grid], step_seconds, horizon, level).forecast(grid, step_seconds, horizon)


LIBRARY: Mapping[str, OfflineModel] = {
    "pool": pool,
    "seasonal_naive": seasonal_naive,
    "drift": drift,
    "ets": ets,
    "theta": theta,
    "arima": arima,
    "mstl": mstl,
    "fourier": fourier,
    "boosting": _trees(_booster, quantiles=True),
    "forest": _trees(_forest, quantiles=False),
    GLOBAL: global_trees,
    "sf_auto_ets": _statsforecast("AutoETS"),
    "sf_auto_theta": _statsforecast("AutoTheta"),
}


def available() -> dict[str, OfflineModel]:
    """The models whose libraries are installed."""
    has_statsforecast = find_spec("statsforecast") is not None
    return {name: model for name, model in LIBRARY.items() if has_statsforecast or not name.startswith("sf_")}


def run(
    name: str,
    grid: FloatArray,
    step_seconds: float,
    horizon: int,
    level: float,
    model: OfflineModel | None = None,
) -> PoolForecast:
    """The forecast of a model by name; `model`: what stands for that name instead, trained on more.

    Raises: ModelError where there is none of that name, or it fails on this series.
    """
    if name not in LIBRARY:
        raise ModelError(f"no model {name!r}; known: {', '.join(LIBRARY)}")
    # Optimisers complain of what the error table shows anyway; statsmodels insists, so they are collected.
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")  # As errors they would end the fit, wherever that is the filter.
        try:
            found = (model or LIBRARY[name])(grid, step_seconds, horizon, level)
        except (ValueError, ArithmeticError, IndexError, np.linalg.LinAlgError) as error:
            raise ModelError(f"{name}: {error}") from error
    if not all(np.isfinite(a).all() for a in (found.yhat, found.lower, found.upper)):
        raise ModelError(f"{name}: gave no number for a step")
    return found
