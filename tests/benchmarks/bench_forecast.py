"""What selecting and refreshing a forecast costs and gains, beside the libraries that fit one model."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

import numpy as np

from sidecar.engine.forecast.interval import winkler
from sidecar.engine.forecast.library import available
from sidecar.engine.forecast.library import run as run_model
from sidecar.engine.forecast.live import PoolForecaster
from sidecar.engine.forecast.past import Past
from sidecar.engine.forecast.pool import PoolForecast, pool_forecast, select
from sidecar.series import FloatArray, LabelSet, SeriesBatch
from tests.benchmarks.ops_series import series
from tests.benchmarks.table import Row, show

STEP = 300
DAY = 288
HORIZONS = (300.0, 900.0, 3600.0, 14400.0, 86400.0)
BUDGET_REFRESH_MS = 5.0
BUDGET_SELECT_SECONDS = 0.3
BUDGET_COVERAGE = (0.92, 0.975)


def _seconds(work: Callable[[], object]) -> float:
    """What the work costs on one core, with the processes that it starts (Prophet's); waiting is free."""
    begun = _spent()
    work()
    return _spent() - begun


def _spent() -> float:
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _cost_rows(n_series: int) -> list[Row]:
    """Selection and refresh over series of every kind at 5 minutes, two weeks of history, a day ahead."""
    grids = [v[-14 * DAY :] for _, _, v in series(-(-n_series // 10), seed=1, steps=(STEP,))][:n_series]
    select(grids[0], STEP, DAY)  # Compiled code is loaded, or made, outside the measurement.
    selecting: list[float] = []
    refreshing: list[float] = []
    others: dict[str, list[float]] = {name: [] for name in ("ets", "sf_auto_ets") if name in available()}
    for i, grid in enumerate(grids):
        selecting.append(_seconds(lambda g=grid: select(g, STEP, DAY)))
        chosen = select(grid, STEP, DAY)
        refreshing.append(
            statistics.median(_seconds(lambda s=chosen, g=grid: s.forecast(g)) for _ in range(3))
        )
        for name, taken in others.items():
            if i < 6:
                taken.append(_seconds(lambda n=name, g=grid: run_model(n, g, STEP, DAY, 0.95)))
    beside = {name: statistics.median(taken) for name, taken in others.items()}
    if (prophet := _prophet_seconds(grids[0])) is not None:
        beside["Prophet"] = prophet
    selection, refresh = statistics.median(selecting), statistics.median(refreshing) * 1000
    rows = [
        Row(
            "refresh one series by itself, every step of a day",
            f"{refresh:.2f} ms",
            "",
            None,
            f"≤ {BUDGET_REFRESH_MS:.0f} ms",
            refresh <= BUDGET_REFRESH_MS,
        ),
        Row(
            "select for one series (slowest)",
            f"{selection:.3f} s ({max(selecting):.3f})",
            "",
            None,
            f"≤ {BUDGET_SELECT_SECONDS} s",
            max(selecting) <= BUDGET_SELECT_SECONDS,
        ),
    ]
    for name, seconds in beside.items():
        rows.append(
            Row(
                f"select, beside one fit of {name}",
                f"{selection:.3f} s",
                f"{seconds:.3f} s",
                seconds / selection,
                "faster",
                seconds > selection,
            )
        )
    return rows


def _prophet_seconds(grid: FloatArray) -> float | None:
    """One fit and forecast of Prophet; None where it is not installed."""
    try:
        import pandas as pd
        from prophet import Prophet
    except ImportError:
        return None
    times = pd.date_range("2026-01-01", periods=len(grid), freq=f"{STEP}s")

    def work() -> None:
        model = Prophet(interval_width=0.95)
        model.fit(pd.DataFrame({"ds": times, "y": grid}))
        model.predict(
            pd.DataFrame({"ds": times[-1] + pd.to_timedelta(np.arange(1, DAY + 1) * STEP, unit="s")})
        )

    work()
    return _seconds(work)


def _live_rows(n_series: int) -> list[Row]:
    """A steady state of the live forecaster, nothing selected: look-ups, and a refresh of all series."""
    values = np.stack([v[-14 * DAY :] for _, _, v in series(-(-n_series // 10), seed=2, steps=(STEP,))])
    labels = tuple(LabelSet({"i": str(i)}) for i in range(len(values)))

    def part(first: int, end: int) -> SeriesBatch:
        times = (1_790_000_100 + np.arange(first, end, dtype=np.int64) * STEP) * 1000
        return SeriesBatch("bench", labels, times, values[:, first:end])

    forecaster = PoolForecaster(HORIZONS, STEP)
    forecaster.resize(len(values))
    forecaster.update(part(0, 13 * DAY))
    forecaster.work(1e9)
    look_ups, worked = [], []
    for t in range(13 * DAY, 13 * DAY + 10):
        forecaster.update(part(t, t + 1))
        worked.append(_seconds(lambda: forecaster.work(1e9)))
        look_ups.append(_seconds(forecaster.predict))
    work = statistics.median(worked) / len(values) * 1000
    look_up = statistics.median(look_ups) / len(values) * 1e6
    return [
        Row(
            f"live: refresh of one series at five horizons, {len(values)} in a batch",
            f"{work:.2f} ms",
            "",
            None,
            f"≤ {BUDGET_REFRESH_MS:.0f} ms",
            work <= BUDGET_REFRESH_MS,
        ),
        Row(
            "live: all horizons at a step, between refreshes",
            f"{look_up:.1f} µs a series",
            "",
            None,
            "≤ 50 µs",
            look_up <= 50,
        ),
    ]


def _quality_rows(n_each: int) -> list[Row]:
    """Error and interval score relative to the seasonal naive forecast, on series no method was tuned to."""
    rows = []
    for label, seconds in (("1 h", 3600), ("24 h", 86400)):
        mase, msis, covered, pool_covered = [], [], [], []
        for _, step, values in series(n_each, seed=3, steps=(STEP, 3600)):
            horizon = max(seconds // step, 1)
            for origin in np.linspace(0.85 * len(values), len(values) - 86400 // step, 3).astype(int):
                history, actual = values[:origin], values[origin : origin + horizon]
                naive = run_model("seasonal_naive", history, step, horizon, 0.95)
                ours = pool_forecast(history, step, horizon)[0]
                past = Past(history, step)
                scale = np.abs(past.y[past.day :] - past.y[: -past.day]).mean()
                pair = [_judge(f, actual, scale) for f in (ours, naive)]
                mase.append(pair[0][0] / pair[1][0])
                msis.append(pair[0][1] / pair[1][1])
                pool_covered.append(pair[0][2])
                covered.append(pair[1][2])
        rows.append(
            Row(
                f"{label} ahead: error, interval score ({len(mase)} forecasts)",
                f"{_geometric(mase):.2f}, {_geometric(msis):.2f}",
                "1, 1 (yesterday again)",
                1 / _geometric(mase),
                "≤ 0.8, ≤ 0.8",
                _geometric(mase) <= 0.8 and _geometric(msis) <= 0.8,
            )
        )
        rate = float(np.mean(pool_covered))
        rows.append(
            Row(
                f"{label} ahead: coverage of the 95 % interval",
                f"{rate:.1%}",
                f"{np.mean(covered):.1%}",
                None,
                "92–97.5 %",
                BUDGET_COVERAGE[0] <= rate <= BUDGET_COVERAGE[1],
            )
        )
    return rows


def _short_rows(n_each: int) -> list[Row]:
    """How much of what came the interval held, by days of history and days ahead, at a sample an hour."""
    rows = []
    for known, ahead, least in (
        (3, 1, 0.80),
        (7, 1, 0.85),
        (3, 7, 0.88),
        (7, 7, 0.88),
        (14, 7, 0.88),
        (7, 28, 0.88),
    ):
        held = []
        for _, step, values in series(n_each, seed=9, steps=(3600,), days=(14, 50)):
            last = len(values) - ahead * 24
            for origin in np.linspace(known * 24, last, 3 if last >= known * 24 else 0).astype(int):
                found = pool_forecast(values[origin - known * 24 : origin], step, ahead * 24)[0]
                actual = values[origin : origin + ahead * 24]
                held.append(((actual >= found.lower) & (actual <= found.upper)).mean())
        rate = float(np.mean(held))
        rows.append(
            Row(
                f"coverage, {known} days known, {ahead} ahead ({len(held)} forecasts)",
                f"{rate:.1%}",
                "",
                None,
                f"≥ {least:.0%}",
                rate >= least,
            )
        )
    return rows


def _judge(found: PoolForecast, actual: FloatArray, scale: float) -> tuple[float, float, float]:
    inside = (actual >= found.lower) & (actual <= found.upper)
    return (
        float(np.abs(actual - found.yhat).mean() / scale) + 1e-5,
        float(winkler(actual, found.lower, found.upper, 0.95).mean() / scale) + 1e-5,
        float(inside.mean()),
    )


def _geometric(ratios: list[float]) -> float:
    return float(np.exp(np.mean(np.log(np.clip(ratios, 0.1, 10)))))


def run(quick: bool = False) -> list[Row]:
    """Costs of selection, refresh and look-up; errors and coverage on made-up operations series."""
    rows = _live_rows(20 if quick else 100) + _cost_rows(10 if quick else 40)
    return rows + _quality_rows(2 if quick else 6) + _short_rows(1 if quick else 4)


if __name__ == "__main__":
    show("forecast", run())
