"""When the error budget of an objective is spent: what is in its window now, and what is forecast to come."""

from __future__ import annotations

import numpy as np

from sidecar.engine.forecast.crossing import Threshold, probabilities
from sidecar.engine.forecast.eta import LEVEL, Crossing, Uplift
from sidecar.engine.forecast.pool import PoolForecast
from sidecar.engine.forecast.series import forecast_series
from sidecar.engine.known_history import KnownSeries
from sidecar.series import FloatArray, TimeArray

SPENT = Threshold(1.0, above=True)
"""The whole budget."""
BURN_SECONDS = 6 * 3600.0
"""Over so long the present burn is taken, as the middle one of the usual burn-rate alerts does."""
PARTS_OF_STEP = 12
"""An event that covers a part of a step counts by that part."""


def budget_crossing(
    timestamps: TimeArray,
    errors: FloatArray,
    total: FloatArray,
    *,
    objective: float,
    step_seconds: float,
    window_steps: int,
    horizon_steps: int,
    known_errors: KnownSeries | None = None,
    known_traffic: KnownSeries | None = None,
) -> Crossing:
    """How likely the budget is spent by when; what is older than the window no longer counts.

    `errors` and `total` (n,) rates on a grid of `step_seconds`, NaN where nothing was counted.
    `objective`: share of events that must be good, below 1.
    `known_errors`, `known_traffic`: what is known of either, such as a release that is to come: the
    burn and the traffic are then those without it, times what is expected of it.

    Raises: ModelError where there are no samples at all.
    """
    usual, errors_lift = _usual(timestamps, errors, known_errors, step_seconds, horizon_steps)
    coming = _forecast(timestamps, usual, step_seconds, horizon_steps)
    # A forecast leans to the quiet past; whoever holds a budget asks what happens if it goes on like this.
    burn = np.full(horizon_steps, np.nanmean(usual[-round(BURN_SECONDS / step_seconds) :]))
    coming = PoolForecast(burn, np.minimum(coming.lower, burn), np.maximum(coming.upper, burn))
    coming = coming if errors_lift is None else errors_lift.of(coming)
    usual, traffic_lift = _usual(timestamps, total, known_traffic, step_seconds, horizon_steps)
    traffic = _forecast(timestamps, usual, step_seconds, horizon_steps)
    traffic = traffic if traffic_lift is None else traffic_lift.of(traffic)
    ends = [
        _spent(errors, total, end, traffic.yhat, objective, window_steps)
        for end in (coming.yhat, coming.lower, coming.upper)
    ]
    if spent_now(errors, total, objective, window_steps) >= 1.0:
        return Crossing(np.zeros(1), np.ones(1))
    # Errors of one hour come with those of the next, so the ends of all hours are added up.
    chance = probabilities(SPENT, ends[0], np.minimum(ends[1], ends[0]), np.maximum(ends[2], ends[0]), LEVEL)
    leads: FloatArray = np.arange(1, horizon_steps + 1, dtype=np.float64) * step_seconds
    return Crossing(leads, np.maximum.accumulate(chance))


def spent_now(errors: FloatArray, total: FloatArray, objective: float, window_steps: int) -> float:
    """The share of the budget that is spent; above 1 the objective is missed."""
    events = float(np.nansum(total[-window_steps:]))
    return float(np.nansum(errors[-window_steps:])) / events / (1.0 - objective) if events > 0 else 0.0


def _usual(
    times: TimeArray, values: FloatArray, known: KnownSeries | None, step_seconds: float, steps: int
) -> tuple[FloatArray, Uplift | None]:
    """The values without what is known of them, and what is known of the steps ahead."""
    if known is None:
        return values, None
    step_ms = round(step_seconds * 1000)
    # A sample tells of the step before it.
    usual = known.without_events(times - step_ms // 2, values)
    middles = (np.arange(steps * PARTS_OF_STEP) + 0.5) * step_ms / PARTS_OF_STEP
    found = known.ahead(times - step_ms // 2, usual, int(times[-1]) + middles.astype(np.int64))
    if found is None:
        return usual, None
    lift = (part[0].reshape(steps, PARTS_OF_STEP).mean(axis=1) for part in found.parts)
    return usual, Uplift(*lift)


def _forecast(times: TimeArray, values: FloatArray, step_seconds: float, steps: int) -> PoolForecast:
    found = forecast_series(
        times, values, step_seconds=step_seconds, horizon_steps=steps, level=LEVEL, floor=0.0
    )
    return PoolForecast(found.yhat, found.lower, found.upper)


def _spent(
    errors: FloatArray,
    total: FloatArray,
    coming: FloatArray,
    traffic: FloatArray,
    objective: float,
    window_steps: int,
) -> FloatArray:
    """Share of the budget spent at each step ahead, (h,)."""
    h = len(coming)
    bad, all_events = (
        _window_sums(np.concatenate([np.nan_to_num(past), future]), window_steps)[-h:]
        for past, future in ((errors, coming), (total, traffic))
    )
    share: FloatArray = np.where(all_events > 0, bad / np.where(all_events > 0, all_events, 1.0), 0.0)
    return share / (1.0 - objective)


def _window_sums(values: FloatArray, window: int) -> FloatArray:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(1, len(values) + 1)
    found: FloatArray = sums[at] - sums[np.maximum(at - window, 0)]
    return found
