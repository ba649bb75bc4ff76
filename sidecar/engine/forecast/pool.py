"""The pool forecast: rules weighted, at each lead, by how far off they were from many past origins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidecar.engine.forecast import ridge
from sidecar.engine.forecast.past import Index, Past, ewma, same_time_mean, smooth
from sidecar.engine.forecast.rules import Rule, View, make_rules
from sidecar.series import FloatArray


@dataclass(frozen=True)
class PoolConfig:
    """What may be tuned, the same for every series."""

    n_origins: int = 120
    n_leads: int = 40
    n_train: int = 400
    n_blocks: int = 5
    sharpness: float = 16.0
    recency_days: float = 7.0
    pool_leads: float = 0.35
    widen: float = 0.15
    vol_power: float = 0.5
    tod_power: float = 0.3


DEFAULT = PoolConfig()


def sub_leads(horizon: int, n: int) -> Index:
    """At most about `n` leads: dense at first, then evenly to the horizon."""
    if horizon <= n:
        return np.arange(1, horizon + 1, dtype=np.int64)
    geometric = np.geomspace(1, horizon, n // 2)
    even = np.linspace(1, horizon, n - n // 2)
    return np.unique(np.rint(np.concatenate([geometric, even])).astype(np.int64))


def pick_origins(past: Past, horizon: int, config: PoolConfig) -> Index:
    """Origins to test from: after enough history for the rules, each right after a sample."""
    n = past.n
    first = 2 * past.day + 1 if past.day else max(n // 3, 3)
    first = min(first, max(n - horizon - 1, n // 2))
    last = n - 1
    reach = max(21 * past.day, 4 * horizon) if past.day else n
    first = max(first, n - reach)
    k = config.n_origins
    if horizon <= config.n_leads:
        k = 3 * k
    candidates = np.unique(np.linspace(first, last, k).astype(np.int64))
    candidates = candidates[candidates >= 3]
    # A little off the even grid, so that origins do not all fall on the same minutes of an hour.
    jitter = (last - first > 10 * k) * (np.arange(len(candidates)) * 7919) % 5 - 2
    candidates = np.clip(candidates + jitter, max(first, 3), last)
    candidates = np.unique(candidates)
    return candidates[past.observed[candidates - 1]]


@dataclass(frozen=True)
class Backtest:
    """Forecasts from past origins, (R, B, Ls), and what came, (B, Ls) with NaN where nothing did."""

    names: tuple[str, ...]
    origins: Index
    leads: Index
    forecasts: FloatArray
    actual: FloatArray


def run_rules(past: Past, rules: dict[str, Rule], origins: Index, leads: Index) -> FloatArray:
    """What each rule says, (R, B, L)."""
    view = View(past, origins[:, None], leads[None, :])
    return np.stack([np.asarray(rule(view)) for rule in rules.values()])


def _targets(past: Past, origins: Index, leads: Index) -> FloatArray:
    at = origins[:, None] + leads[None, :] - 1
    inside = at < past.n
    at = np.minimum(at, past.n - 1)
    return np.where(inside & past.observed[at], past.y[at], np.nan)


def ridge_forecasts(
    past: Past, origins: Index, leads: Index, all_leads: Index, config: PoolConfig
) -> tuple[FloatArray, FloatArray]:
    """The linear rule from past origins (B, Ls), fitted before each, and from now (h,)."""
    features = ridge.Features(past)
    n = past.n
    first = past.day + 1 if past.day else 4
    train = np.unique(np.linspace(min(first, n - 1), n - 1, config.n_train).astype(np.int64))
    train = train[past.observed[train - 1]]
    few = leads[np.unique(np.linspace(0, len(leads) - 1, min(24, len(leads))).astype(int))]
    view = View(past, train[:, None], few[None, :])
    x = features.at(view)
    targets = (_targets(past, train, few) - features.base(view)).T
    age_days = (n - train) * past.step_seconds / 86400.0
    weights = np.broadcast_to(0.5 ** (age_days / 14.0), targets.shape)
    ends = train[None, :] + few[:, None]  # One past the target.
    out = np.empty((len(origins), len(leads)))
    blocks = np.array_split(np.arange(len(origins)), config.n_blocks)
    for block in blocks:
        if not len(block):
            continue
        o = origins[block]
        fitted = ridge.fit(x, np.where(ends <= o[0], targets, np.nan), weights)
        fitted = ridge.interpolate(fitted, few.astype(float), leads.astype(float))
        here = View(past, o[:, None], leads[None, :])
        out[block] = fitted.predict(features.at(here)) + features.base(here)
    fitted = ridge.interpolate(ridge.fit(x, targets, weights), few.astype(float), all_leads.astype(float))
    here = View(past, np.array([[n]]), all_leads[None, :])
    now = (fitted.predict(features.at(here)) + features.base(here))[0]
    return out, now


def backtest(past: Past, grid: FloatArray, horizon: int, config: PoolConfig) -> tuple[Backtest, FloatArray]:
    """Every rule from past origins, and from now, (R, h)."""
    origins = pick_origins(past, horizon, config)
    leads = sub_leads(horizon, config.n_leads)
    all_leads = np.arange(1, horizon + 1, dtype=np.int64)
    rules = make_rules(past)
    past_f = run_rules(past, rules, origins, leads)
    now_f = run_rules(past, rules, np.array([past.n]), all_leads)[:, 0]
    names = list(rules)
    f, now = ridge_forecasts(past, origins, leads, all_leads, config)
    names.append("ridge")
    fs, nows = [f], [now]
    if past.positive:
        logs = Past(np.log(grid), past.step_seconds)
        f, now = ridge_forecasts(logs, origins, leads, all_leads, config)
        top = logs.y.max() + 1.0
        fs.append(np.exp(np.minimum(f, top) + logs.centre) - past.centre)
        nows.append(np.exp(np.minimum(now, top) + logs.centre) - past.centre)
        names.append("ridge-log")
    forecasts = np.concatenate([past_f, np.stack(fs)])
    now_f = np.concatenate([now_f, np.stack(nows)])
    # No rule may leave what was ever seen by more than once its range.
    low, high = past.y.min(), past.y.max()
    span = high - low
    low_limit = -past.centre if past.non_negative else low - span
    np.clip(forecasts, low_limit, high + span, out=forecasts)
    np.clip(now_f, low_limit, high + span, out=now_f)
    return Backtest(tuple(names), origins, leads, forecasts, _targets(past, origins, leads)), now_f


def lead_kernel(leads: Index, width: float) -> FloatArray:
    """How much the errors at one lead tell of another, (Ls, Ls): a triangle on the logarithm."""
    position = np.log(leads + 2.0)
    return np.maximum(1.0 - np.abs(position[:, None] - position[None, :]) / width, 0.0)


def _weights(mae: FloatArray, sharpness: float) -> FloatArray:
    """(R, ...) mean errors to weights that sum to one over R."""
    best = mae.min(axis=0)
    ratio = (best + 1e-12) / (mae + 1e-12)
    w = ratio**sharpness
    return w / w.sum(axis=0)


@dataclass(frozen=True)
class PoolForecast:
    """Steps ahead: arrays (h,)."""

    yhat: FloatArray
    lower: FloatArray
    upper: FloatArray
    weights: dict[str, float]


def _weighted_quantile(values: FloatArray, weights: FloatArray, q: float) -> float:
    order = np.argsort(values)
    v, w = values[order], weights[order]
    c = np.cumsum(w) - 0.5 * w
    return float(np.interp(q * w.sum(), c, v))


def pool_forecast(
    grid: FloatArray,
    step_seconds: float,
    horizon: int,
    level: float = 0.95,
    config: PoolConfig = PoolConfig(),
) -> PoolForecast:
    """Forecast `horizon` steps after the grid's last sample."""
    past = Past(grid, step_seconds)
    test, now = backtest(past, grid, horizon, config)
    return combine(past, test, now, horizon, level, config)


def combine(
    past: Past, test: Backtest, now: FloatArray, horizon: int, level: float, config: PoolConfig
) -> PoolForecast:
    """Weigh the rules by their past errors, and make the interval of the mix's own."""
    error = np.abs(test.forecasts - test.actual)  # (R, B, L)
    known = np.isfinite(test.actual)
    age = (past.n - test.origins) * past.step_seconds / 86400.0
    recent = 0.5 ** (age / config.recency_days)
    w = recent[:, None] * known  # (B, L)
    e = np.where(known, error, 0.0) * w
    kernel = lead_kernel(test.leads, config.pool_leads)
    # Running sums over origins, so that a neighbourhood of each origin can be left out.
    es = np.concatenate([np.zeros((len(e), 1, len(test.leads))), np.cumsum(e, axis=1)], axis=1)
    ws = np.concatenate([np.zeros((1, len(test.leads))), np.cumsum(w, axis=0)])
    total_e, total_w = es[:, -1] @ kernel, ws[-1] @ kernel
    mae = total_e / np.maximum(total_w, 1e-12)
    # Leads that lie beyond all that was tested take the evidence of the longest that was.
    tested = np.flatnonzero(total_w > 0)
    nearest = tested[np.abs(np.arange(len(test.leads))[:, None] - tested).argmin(axis=1)]
    mae, total_w = mae[:, nearest], total_w[nearest]
    weights = _weights(mae, config.sharpness)  # (R, L)
    low = np.searchsorted(test.origins, test.origins - horizon, side="right")
    high = np.searchsorted(test.origins, test.origins + horizon, side="left")
    left_e = (es[:, -1][:, None] - (es[:, high] - es[:, low])) @ kernel
    left_w = (ws[-1][None] - (ws[high] - ws[low])) @ kernel
    enough = left_w > 0.1 * np.maximum(total_w, 1e-12)
    left = np.where(enough, left_e / np.maximum(left_w, 1e-12), mae[:, None])
    fitted = (np.moveaxis(_weights(left, config.sharpness), 0, 0) * test.forecasts).sum(axis=0)  # (B, L)
    residual = test.actual - fitted
    all_leads = np.arange(1, horizon + 1)
    spread = np.stack([np.interp(all_leads, test.leads, row) for row in weights])
    spread /= spread.sum(axis=0)
    yhat = (spread * now).sum(axis=0)
    # Interval.
    scale_then, scale_now = local_scale(past, test.origins, test.leads, all_leads, config)
    z = residual / scale_then
    share = (1.0 - level) / 2.0
    q = np.empty((2, len(test.leads)))
    for j in range(len(test.leads)):
        near = kernel[j] > 0
        zz = z[:, near]
        ww = w[:, near] * kernel[j, near]
        ok = np.isfinite(zz)
        if ok.sum() < 3:
            q[:, j] = np.nan
            continue
        q[0, j] = _weighted_quantile(zz[ok], ww[ok], share)
        q[1, j] = _weighted_quantile(zz[ok], ww[ok], 1.0 - share)
    # Beyond the longest lead with errors, the interval grows as a random walk's.
    had = np.flatnonzero(np.isfinite(q[0]))
    if not len(had):
        q[:] = np.array([[-3.0], [3.0]])
    else:
        near = had[np.abs(np.arange(len(test.leads))[:, None] - had).argmin(axis=1)]
        q = q[:, near] * np.sqrt(np.maximum(test.leads / test.leads[near], 1.0))
    wide = (
        1.0
        + config.widen * np.log1p(np.minimum(all_leads * past.step_seconds / 3600.0, 48.0)) / np.log(2.0) / 2
    )
    q_low = np.minimum(np.interp(all_leads, test.leads, q[0]), 0.0) * wide
    q_high = np.maximum(np.interp(all_leads, test.leads, q[1]), 0.0) * wide
    lower, upper = yhat + q_low * scale_now, yhat + q_high * scale_now
    yhat, lower, upper = yhat + past.centre, lower + past.centre, upper + past.centre
    if past.non_negative:
        lower = np.maximum(lower, 0.0)
        yhat = np.maximum(yhat, 0.0)
    lower, upper = np.minimum(lower, yhat), np.maximum(upper, yhat)
    mean = weights.mean(axis=1)
    top = np.argsort(-mean)[:8]
    return PoolForecast(yhat, lower, upper, {test.names[i]: float(mean[i]) for i in top})


def local_scale(
    past: Past, origins: Index, leads: Index, all_leads: Index, config: PoolConfig
) -> tuple[FloatArray, FloatArray]:
    """How large errors are usually, as of each origin and for each target: (B, L) then, (h,) now."""
    y = past.y
    period = past.day or 1
    off = np.abs(np.concatenate([np.zeros(period), y[period:] - y[:-period]]))
    off = np.minimum(off, 5 * np.quantile(off, 0.95) + 1e-12)
    typical = off.mean() + 1e-9 * (np.abs(y).max() + 1e-12) + 1e-12
    vol = (ewma(off, min(past.step_seconds / 21600.0, 1.0)) + 0.25 * typical) / typical
    if past.day:
        half = past.steps(3600.0)
        tod = same_time_mean(smooth(off, half), past.day, 0.15)
        tod = (tod + 0.25 * typical) / typical

    def scale(o: Index, leads: Index) -> FloatArray:
        v = View(past, o[:, None], leads[None, :])
        s = typical * v.flat(vol[v.origins - 1]) ** config.vol_power
        if past.day:
            s = s * tod[np.minimum(v.same_time(past.day), v.origins - 1 - half)] ** config.tod_power
        return s

    return scale(origins, leads), scale(np.array([past.n]), all_leads)[0]
