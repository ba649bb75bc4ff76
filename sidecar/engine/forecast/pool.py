"""The pool forecast: what was selected for a series once, and what it then says as the series goes on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sidecar.engine.forecast.analog import Analog
from sidecar.engine.forecast.backtest import ORIGINS, plan
from sidecar.engine.forecast.doubt import beyond_usual, middle, spread
from sidecar.engine.forecast.interval import IntervalPlan, plan_interval
from sidecar.engine.forecast.past import Index, Past
from sidecar.engine.forecast.ridge import LinearRule, test_linear
from sidecar.engine.forecast.rules import Rule, View, make_rules, other_periods
from sidecar.engine.forecast.weigh import SHARPNESS, weigh
from sidecar.series import FloatArray

MOST_RANGES = 4.0
"""By so many times the range of its past a forecast may leave it, however far ahead."""
LIGHT = 0.03
"""Rules below this weight at every lead are dropped from a selection."""


@dataclass(frozen=True)
class PoolForecast:
    """Steps ahead, arrays (h,)."""

    yhat: FloatArray
    lower: FloatArray
    upper: FloatArray


@dataclass(frozen=True)
class Selection:
    """Weights, coefficients and interval widths of one series; frozen, so that forecasting is cheap.

    `names` of rules (A,), their `weights` (A, L) at the tested `leads` (L,); `usual_spread` (L,): how far
    they differed at most, from past moments.
    """

    step_seconds: float
    horizon: int
    level: float
    periods: list[int]
    names: tuple[str, ...]
    leads: Index
    weights: FloatArray
    linear: dict[str, LinearRule]
    interval: IntervalPlan
    usual_spread: FloatArray

    @cached_property
    def _between(self) -> FloatArray:
        """What is told at the tested leads, linearly at every one, (L, h)."""
        leads = np.arange(1, self.horizon + 1)
        return np.stack([np.interp(leads, self.leads, one) for one in np.eye(len(self.leads))])

    @property
    def shares(self) -> dict[str, float]:
        """Mean weight over the leads by rule, heaviest first."""
        mean = self.weights.mean(axis=1)
        return {self.names[i]: float(mean[i]) for i in np.argsort(-mean)}

    def forecast(self, grid: FloatArray) -> PoolForecast:
        """The steps after the last sample of `grid`, which is the selected series, perhaps grown since."""
        past = Past(grid, self.step_seconds)
        leads = np.arange(1, self.horizon + 1, dtype=np.int64)
        view = View(past, np.array([[past.n]]), leads[None, :])
        rules = _every_rule(past, self.periods)
        said, kept = [], []
        for n, name in enumerate(self.names):
            # History may have been trimmed since, or grown beyond two days: what no longer fits has no say.
            if name in rules:
                said.append(rules[name](view)[0])
            elif name in self.linear and self.linear[name].fits(past):
                said.append(self.linear[name].predict(past, grid, view)[0])
            else:
                continue
            kept.append(n)
        if not said:
            said, share = [np.full(self.horizon, past.y[-1])], np.ones((1, self.horizon))
        else:
            share = self.weights[kept] @ self._between
        total = share.sum(axis=0)
        possible = _possible(past, np.stack(said), leads)
        share = share / np.where(total > 0, total, 1.0)
        yhat = np.where(total > 0, (share * possible).sum(axis=0), past.y[-1])
        doubt = beyond_usual(possible, share, self.usual_spread @ self._between)
        if doubt.any():
            yhat = np.where((doubt > 0) & (total > 0), middle(possible, share), yhat)
        lower, upper = self.interval.ends(past, yhat, view)
        lower, upper = yhat - np.hypot(yhat - lower, doubt), yhat + np.hypot(upper - yhat, doubt)
        yhat, lower, upper = yhat + past.centre, lower + past.centre, upper + past.centre
        if past.non_negative:
            yhat, lower = np.maximum(yhat, 0.0), np.maximum(lower, 0.0)
        return PoolForecast(yhat, np.minimum(lower, yhat), np.maximum(upper, yhat))


def _every_rule(past: Past, periods: list[int]) -> dict[str, Rule]:
    analogs: dict[str, Rule] = {
        "analog": Analog(past, relative=True),
        "analog-level": Analog(past, relative=False),
    }
    return make_rules(past, periods) | analogs


def _possible(past: Past, forecasts: FloatArray, leads: Index) -> FloatArray:
    """No rule may leave what was ever seen by more than once its range, in as much time as was seen.

    What grew for three days may come further in seven; but in less than two days a morning looks like growth.
    """
    low, high = past.limits
    span = high - low
    if past.day and leads[-1] > past.n:
        span = span * np.clip(leads / past.n, 1.0, MOST_RANGES)
    return np.clip(forecasts, -past.centre if past.non_negative else low - span, high + span)


def select(
    grid: FloatArray,
    step_seconds: float,
    horizon: int,
    level: float = 0.95,
    *,
    n_origins: int = ORIGINS,
    sharpness: float = SHARPNESS,
) -> Selection:
    """Try every rule from past moments of the series and keep what was right.

    `grid` (n,) NaN where no sample lies, its last entry a sample; `horizon` in steps.
    """
    past = Past(grid, step_seconds)
    tests = plan(past, horizon, n_origins)
    periods = other_periods(past)
    rules = _every_rule(past, periods)
    then = View(past, tests.origins[:, None], tests.leads[None, :])
    said = [rule(then) for rule in rules.values()]
    linear: dict[str, LinearRule] = {}
    for name, as_log in (("ridge", False), ("ridge-log", True)):
        if as_log and not past.positive:
            continue
        tried, linear[name] = test_linear(past, grid, tests.origins, tests.leads, as_log=as_log)
        said.append(tried)
    names = (*rules, *linear)
    forecasts = _possible(past, np.stack(said), tests.leads)
    weights, tested = weigh(past, tests, forecasts, sharpness)
    kept = np.flatnonzero(weights.max(axis=1) >= LIGHT)
    return Selection(
        step_seconds,
        horizon,
        level,
        periods,
        tuple(names[i] for i in kept),
        tests.leads,
        weights[kept],
        {name: rule for name, rule in linear.items() if name in {names[i] for i in kept}},
        plan_interval(past, tested, level),
        spread(forecasts[kept], weights[kept] / weights[kept].sum(axis=0)).max(axis=0),
    )


def pool_forecast(
    grid: FloatArray, step_seconds: float, horizon: int, level: float = 0.95
) -> tuple[PoolForecast, Selection]:
    """Select and forecast at once."""
    selection = select(grid, step_seconds, horizon, level)
    return selection.forecast(grid), selection
