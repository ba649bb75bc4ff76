"""One model for all series of a query: boosted trees on what each looks like, in units of its own spread.

What one series has too little history to show, the others may. Rows of all
series are made alike: values less the series' recent level, divided by how far
it usually is from yesterday.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from sidecar.engine.forecast.backtest import pick_leads, targets
from sidecar.engine.forecast.past import Index, Past
from sidecar.engine.forecast.pool import PoolForecast
from sidecar.engine.forecast.ridge import Features
from sidecar.engine.forecast.rules import View
from sidecar.errors import ModelError
from sidecar.series import FloatArray

MAX_ROWS = 30_000
TRAIN_LEADS = 12
MAX_TREES = 100
TREES_AT_ONCE = 20
MIN_ORIGINS = 8
PROFILE_COLUMNS = 6
"""Yesterday, the same smoothed, the mean of days, last week; and two level errors."""


class TogetherModel:
    """Forecasts every series that looks like those it was trained on; see `train`."""

    def __init__(self, columns: Index, lower: Any, middle: Any, upper: Any) -> None:
        self._columns = columns
        self._models = (middle, lower, upper)

    def forecast(self, grid: FloatArray, step_seconds: float, horizon: int) -> PoolForecast:
        """The `horizon` steps after the last sample of `grid`."""
        past = Past(grid, step_seconds)
        leads = np.arange(1, horizon + 1, dtype=np.int64)
        x, base = _looks(past, np.array([past.n]), leads)
        with _one_thread():
            said = [
                model.predict(x[:, self._columns]) * _spread(past) + base + past.centre
                for model in self._models
            ]
        yhat, low, high = said
        return PoolForecast(yhat, np.minimum(low, yhat), np.maximum(high, yhat))


def train(
    histories: Sequence[FloatArray],
    step_seconds: float,
    horizon: int,
    level: float = 0.95,
    *,
    budget_seconds: float = 20.0,
    clock: Callable[[], float] = time.perf_counter,
) -> TogetherModel:
    """One model of all these histories, each (n,) on a grid of one step and one end, NaN for no sample.

    Trees are added until there are enough or the time is over; the median and both ends of the
    interval share it.

    Raises: ModelError where no history is long enough.
    """
    leads = pick_leads(horizon, TRAIN_LEADS)
    pasts = [Past(grid, step_seconds) for grid in histories]
    n_origins = max(MAX_ROWS // (max(len(pasts), 1) * len(leads)), MIN_ORIGINS)
    rows = [_rows(past, leads, n_origins) for past in pasts]
    x, y = np.concatenate([one[0] for one in rows]), np.concatenate([one[1] for one in rows])
    if len(y) < MIN_ORIGINS:
        raise ModelError("no series is long enough to learn from")
    # What no series has (a last week, say) is no column.
    columns = np.flatnonzero(np.isfinite(x).any(axis=0))
    share = (1.0 - level) / 2.0
    until, models = clock(), []
    for quantile in (share, 0.5, 1.0 - share):
        until += budget_seconds / 3.0
        models.append(_grown(x[:, columns], y, quantile, until, clock))
    return TogetherModel(columns, *models)


def _grown(x: FloatArray, y: FloatArray, quantile: float, until: float, clock: Callable[[], float]) -> Any:
    """Trees for one quantile, as many as the time allows."""
    regressor: Any = import_module("sklearn.ensemble").HistGradientBoostingRegressor
    model = regressor(
        loss="quantile",
        quantile=quantile,
        max_iter=TREES_AT_ONCE,
        learning_rate=0.1,
        max_leaf_nodes=15,
        min_samples_leaf=40,
        warm_start=True,
        random_state=0,
    )
    with _one_thread():
        while True:
            model.fit(x, y)
            if model.max_iter >= MAX_TREES or clock() >= until:
                return model
            model.max_iter += TREES_AT_ONCE


def _one_thread() -> Any:
    # Trees this small only wait for each other, badly so on a busy machine.
    return import_module("threadpoolctl").threadpool_limits(limits=1)


def _spread(past: Past) -> float:
    """How far the series usually is from yesterday; the unit of all that the trees see."""
    period = past.day or 1
    usual = float(np.abs(past.y[period:] - past.y[:-period]).mean()) if past.n > period else 0.0
    return max(usual, 1e-4 * float(np.ptp(past.y)), 1e-12)


def _rows(past: Past, leads: Index, n_origins: int) -> tuple[FloatArray, FloatArray]:
    """What the trees look at from past moments, and what came, in units of the series."""
    first = min(past.day + 1 if past.day else 4, past.n - 1)
    origins = np.unique(np.linspace(first, past.n - 1, n_origins).astype(np.int64))
    x, base = _looks(past, origins, leads)
    y = (targets(past, origins, leads).T.reshape(-1) - base) / _spread(past)
    known = np.isfinite(y)
    return x[known], y[known]


def _looks(past: Past, origins: Index, leads: Index) -> tuple[FloatArray, FloatArray]:
    """Features (L B, F) and the level that they are relative to, (L B,)."""
    features = Features(past)
    view = View(past, origins[:, None], leads[None, :])
    x = features.at(view)[..., :-1] / _spread(past)
    # Trees take NaN as "not known": a short history has no last week.
    n_profiles = (4 if past.week and past.n >= 2 * past.week else 3) if past.day else 0
    have = x.shape[-1] - n_profiles - (2 if n_profiles else 0)
    wide = np.full((*x.shape[:-1], have + PROFILE_COLUMNS + 5), np.nan)
    wide[..., :have] = x[..., :have]
    if n_profiles:
        wide[..., have : have + n_profiles] = x[..., have : have + n_profiles]
        wide[..., have + 4 : have + 6] = x[..., have + n_profiles :]
    shape = x.shape[:2]
    # Told from the newest sample back, which is the same time in every series of a query.
    ahead = origins[None, :] + leads[:, None] - past.n
    for column, period in ((-5, past.day), (-3, past.week)):
        if period:
            wide[..., column] = np.sin(2.0 * np.pi * ahead / period)
            wide[..., column + 1] = np.cos(2.0 * np.pi * ahead / period)
    wide[..., -1] = np.broadcast_to(np.log(leads * past.step_seconds)[:, None], shape)
    base = np.broadcast_to(features.base(view).T, shape).reshape(-1)
    return wide.reshape(-1, wide.shape[-1]), base
