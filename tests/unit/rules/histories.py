"""Simulated pasts of a rule, with incidents in them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rules.adapt.judge import Evidence
from rules.adapt.solve import Proposal, Unchanged
from rules.incidents import KnownIncident
from rules.read import WrittenRule
from sidecar.promql.threshold import Comparison, parse_comparison
from sidecar.series import LabelSet

MINUTE = 60_000
START = 1_700_000_000_000 // MINUTE * MINUTE
DAY = 86_400_000


def clock(days: float) -> np.ndarray:
    return START + np.arange(int(days * 1440)) * MINUTE


def hourly(values: np.ndarray, expr: str, incidents: tuple[KnownIncident, ...] = ()) -> Evidence:
    """One series with a sample in each hour."""
    times = START + np.arange(len(values)) * 60 * MINUTE
    return replace(evidence(values, expr, incidents), times=times)


def evidence(
    values: np.ndarray,
    expr: str = "load > 10.5",
    incidents: tuple[KnownIncident, ...] = (),
    for_seconds: float = 0.0,
) -> Evidence:
    comparison = parse_comparison(expr)
    assert isinstance(comparison, Comparison)
    values = np.atleast_2d(values)
    labels = tuple(LabelSet({"pod": str(n)}) for n in range(values.shape[0]))
    written = WrittenRule("Load", expr, "alerting", for_seconds=for_seconds)
    return Evidence(written, comparison, labels, clock(values.shape[1] / 1440), values, incidents)


def noise(days: float, seed: int = 1) -> np.ndarray:
    return 10 + np.random.default_rng(seed).normal(0, 0.5, int(days * 1440))


def with_incident(values: np.ndarray, day: float, minutes: int = 30, height: float = 30.0) -> KnownIncident:
    first = int(day * 1440)
    values[first : first + minutes] += height
    start = START + first * MINUTE
    return KnownIncident(f"day {day:g}", start, start + minutes * MINUTE, frozenset({"Load"}))


def proposal(found: Proposal | Unchanged) -> Proposal:
    assert isinstance(found, Proposal), found
    return found


def daily_swing(swing: float) -> np.ndarray:
    times = clock(28)
    rough = np.random.default_rng(2).normal(0, 1, times.size)
    values: np.ndarray = 50 + swing * np.sin(2 * np.pi * (times / DAY)) + rough
    return values
