"""Warnings ahead of thresholds on made-up disks, logs, queues and traffic, beside predict_linear."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from sidecar.engine.forecast.crossing import Threshold
from sidecar.engine.forecast.eta import crossing, within_reach
from sidecar.engine.forecast.pool import select
from sidecar.engine.forecast.replay import NOTHING, Warnings, replay, worth
from sidecar.series import FloatArray
from tests.benchmarks.table import Row, show

STEP = 300.0
DAY = 288
N = 10 * DAY
FIRST = 8 * DAY
WARN_SECONDS = 6 * 3600.0
FOR_SECONDS = 600.0
AT_90 = Threshold(90.0, above=True)
BUDGET_REFRESH_MS = 15.0
LINEAR_STEPS = 12


def disk(rng: np.random.Generator) -> FloatArray:
    """Still, then full within six hours, tidied up an hour later."""
    values = rng.uniform(20, 60) + rng.normal(0, 0.2, N)
    begin = int(rng.integers(FIRST + 12, N - 120))
    height = 90.0 - values[begin]
    hours = np.minimum(np.arange(84), 75) / 72
    values[begin : begin + 84] += hours * height
    return values


def log(rng: np.random.Generator) -> FloatArray:
    """Grows and is rotated, always in time."""
    period = int(rng.integers(24, 80))
    return (
        10.0 + rng.uniform(40, 70) * ((np.arange(N) + period // 3) % period) / period + rng.normal(0, 0.3, N)
    )


def traffic(rng: np.random.Generator) -> FloatArray:
    """A daily course that stays below."""
    return 45.0 + rng.uniform(20, 38) * np.sin(2 * np.pi * np.arange(N) / DAY) + rng.normal(0, 1.0, N)


def queue(rng: np.random.Generator) -> FloatArray:
    """Wanders, with a pull back to its mean."""
    values = np.zeros(N)
    for i in range(1, N):
        values[i] = 0.99 * values[i - 1] + rng.normal(0, 1.0)
    return 40.0 + values


KINDS: dict[str, Callable[[np.random.Generator], FloatArray]] = {
    "disks that fill in 6 h": disk,
    "rotated logs": log,
    "daily traffic": traffic,
    "wandering queues": queue,
}


def linear(grid: FloatArray) -> Warnings:
    """`predict_linear(x[1h], 6h) > 90` on the same series."""
    at = np.arange(-LINEAR_STEPS + 1, 1)
    expected = np.zeros(N, dtype=np.bool_)
    for i in range(FIRST, N):
        slope, level = np.polyfit(at, grid[i - LINEAR_STEPS + 1 : i + 1], 1)
        expected[i] = level + slope * WARN_SECONDS / STEP > AT_90.value
    return worth(expected, grid, STEP, AT_90, WARN_SECONDS, FOR_SECONDS, FIRST)


def run(quick: bool = False) -> list[Row]:
    """Warnings, crossings, lead times by kind; and what keeping one series up to date costs."""
    rng = np.random.default_rng(11)
    rows, taken = [], []
    for name, make in KINDS.items():
        ours, theirs = NOTHING, NOTHING
        for _ in range(2 if quick else 12):
            grid = make(rng)
            ours += replay(grid, STEP, AT_90, warn_seconds=WARN_SECONDS, for_seconds=FOR_SECONDS, first=FIRST)
            theirs += linear(grid)
            taken.append(_refresh_seconds(grid))
        if ours.n_crossings:
            wanted = "each ≥ 4 h ahead, none false"
            good = len(ours.leads_seconds) == ours.n_crossings and min(ours.leads_seconds) >= 4 * 3600.0
            good = good and ours.n_true == ours.n_warnings
        else:
            wanted = "≤ a tenth of the false ones beside it"
            good = ours.n_warnings <= theirs.n_warnings / 10
        rows.append(Row(name, _words(ours), f"predict_linear: {_words(theirs)}", None, wanted, good))
    milliseconds = statistics.median(taken) * 1000
    rows.append(
        Row(
            "time until a threshold, one series, between selections",
            f"{milliseconds:.1f} ms",
            "",
            None,
            f"≤ {BUDGET_REFRESH_MS:.0f} ms",
            milliseconds <= BUDGET_REFRESH_MS,
        )
    )
    return rows + _late_rows(3 if quick else 12)


def _late_rows(n_disks: int) -> list[Row]:
    """The time told at a probability of half beside that which it takes, of disks that fill in 3 to 12 h."""
    rng = np.random.default_rng(0)
    late: dict[float, list[float]] = {share: [] for share in (0.2, 0.3, 0.5, 0.8)}
    for _ in range(n_disks):
        base, steps = rng.uniform(20, 60), int(rng.uniform(36, 144))
        filling = base + (AT_90.value - base) * np.arange(1, steps + 1) / steps
        values = np.concatenate([np.full(N, base), filling]) + rng.normal(0, 0.2, N + steps)
        for share, found in late.items():
            known = int(steps * share)
            told = crossing(values[: N + known], STEP, AT_90, horizon_seconds=7 * 86400.0, ahead=None)
            found.append(told.eta_seconds(0.5) / ((steps - known) * STEP) - 1.0)
    told_late = {share: statistics.median(found) for share, found in late.items()}
    return [
        Row(
            "told late, after a fifth, three tenths, half, eight tenths of the way",
            ", ".join(f"{by:.0%}" for by in told_late.values()),
            "",
            None,
            "≤ 25 %, then ≤ 15 %",
            told_late[0.2] <= 0.25 and max(told_late[0.3], told_late[0.5], told_late[0.8]) <= 0.15,
        )
    ]


def _refresh_seconds(grid: FloatArray) -> float:
    ahead = select(grid, STEP, DAY) if within_reach(grid, AT_90) else None
    begun = time.process_time()
    crossing(grid, STEP, AT_90, horizon_seconds=7 * 86400.0, ahead=ahead)
    return time.process_time() - begun


def _words(found: Warnings) -> str:
    least = min(found.leads_seconds, default=0.0) / 3600.0
    ahead = f", ≥ {least:.1f} h ahead" if found.leads_seconds else ""
    crossings = f", {len(found.leads_seconds)} of {found.n_crossings} crossings" if found.n_crossings else ""
    return f"{found.n_true} of {found.n_warnings} warnings true{crossings}{ahead}"


if __name__ == "__main__":
    show("thresholds", run())
