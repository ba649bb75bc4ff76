"""What a warning about a threshold would have been worth: its past replayed without look-ahead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sidecar.engine.forecast.crossing import Threshold
from sidecar.engine.forecast.eta import MIN_SAMPLES, crossing, within_reach
from sidecar.engine.forecast.nature import NaturalSelection, nature_of
from sidecar.engine.forecast.pool import select
from sidecar.series import BoolArray, FloatArray

RESELECT_SECONDS = 6 * 3600.0
GRACE = 1.5
"""A warning came true where the threshold was crossed within so many times the time it spoke of."""
APART_SECONDS = 3600.0
"""Crossings with less between them are one."""
QUIET_SECONDS = 1800.0
"""A warning ends when nothing was expected for so long: the `keep_firing_for` of the rule."""


@dataclass(frozen=True)
class Warnings:
    """A warning's past: `n_warnings` of which `n_true` came true; `n_crossings` of which some had one.

    `leads_seconds`: from the warning to its crossing, one entry a crossing that was warned of.
    """

    n_warnings: int
    n_true: int
    n_crossings: int
    leads_seconds: tuple[float, ...]

    def __add__(self, other: Warnings) -> Warnings:
        return Warnings(
            self.n_warnings + other.n_warnings,
            self.n_true + other.n_true,
            self.n_crossings + other.n_crossings,
            self.leads_seconds + other.leads_seconds,
        )

    @property
    def precision(self) -> float | None:
        """Share of the warnings that came true; None where there was none."""
        return self.n_true / self.n_warnings if self.n_warnings else None

    @property
    def median_lead_seconds(self) -> float | None:
        """None where no crossing was warned of."""
        return float(np.median(self.leads_seconds)) if self.leads_seconds else None


NOTHING = Warnings(0, 0, 0, ())


def replay(
    grid: FloatArray,
    step_seconds: float,
    threshold: Threshold,
    *,
    warn_seconds: float,
    probability: float = 0.5,
    for_seconds: float = 600.0,
    every_seconds: float = 1800.0,
    first: int,
) -> Warnings:
    """Warn, at each moment from position `first` on, as if nothing later were known; and see what came.

    `grid` (n,) NaN where no sample lies. A warning begins when the threshold is
    expected within `warn_seconds` with this probability for as long as
    `for_seconds`, and the value is not beyond it already.
    """
    stride = max(round(every_seconds / step_seconds), 1)
    expected = np.zeros(len(grid), dtype=np.bool_)
    for moment, within in _moments(grid, step_seconds, threshold, warn_seconds, probability, first, stride):
        expected[moment : moment + stride] = within
    return worth(expected, grid, step_seconds, threshold, warn_seconds, for_seconds, first)


def worth(
    expected: BoolArray,
    grid: FloatArray,
    step_seconds: float,
    threshold: Threshold,
    warn_seconds: float,
    for_seconds: float,
    first: int,
) -> Warnings:
    """What warnings at these positions, (n,), came to; see `replay`."""
    held = max(round(for_seconds / step_seconds), 1)
    spans = _spans(expected, apart=max(round(QUIET_SECONDS / step_seconds), 1), at_least=held)
    starts = _crossings(grid, threshold, max(round(APART_SECONDS / step_seconds), 1), first)
    grace = round(GRACE * warn_seconds / step_seconds)
    # What was told so lately that it may yet come true says nothing, unless it has already.
    return _matched(spans, starts, held, grace, len(grid), step_seconds)


def _moments(
    grid: FloatArray,
    step_seconds: float,
    threshold: Threshold,
    warn_seconds: float,
    probability: float,
    first: int,
    stride: int,
) -> Iterator[tuple[int, bool]]:
    """Each moment, and whether a crossing was expected in time."""
    selection: NaturalSelection | None = None
    selected_at = -np.inf
    ahead = max(round(warn_seconds / step_seconds), 1)
    for moment in range(first, len(grid), stride):
        past = grid[: moment + 1]
        if not np.isfinite(past[-1]) or np.isfinite(past).sum() < MIN_SAMPLES:
            continue
        reach = within_reach(past, threshold) and np.nanmin(past) < np.nanmax(past)
        if reach and (moment - selected_at) * step_seconds >= RESELECT_SECONDS:
            made = select(nature_of(past).grid, step_seconds, ahead)
            selection, selected_at = NaturalSelection(made), moment
        found = crossing(
            past,
            step_seconds,
            threshold,
            horizon_seconds=warn_seconds,
            ahead=selection if reach else None,
        )
        yield moment, found.eta_seconds(probability) <= warn_seconds


def _spans(flags: BoolArray, *, apart: int, at_least: int) -> list[tuple[int, int]]:
    """Runs of True as [begin, end), those with short pauses between joined, short ones left out."""
    at = np.flatnonzero(flags)
    if not len(at):
        return []
    parts = np.split(at, np.flatnonzero(np.diff(at) > apart) + 1)
    return [(int(p[0]), int(p[-1]) + 1) for p in parts if p[-1] + 1 - p[0] >= at_least]


def _crossings(grid: FloatArray, threshold: Threshold, apart: int, first: int) -> list[int]:
    """Where the series went beyond the threshold; what was beyond at `first` already does not count."""
    with np.errstate(invalid="ignore"):
        beyond = grid > threshold.value if threshold.above else grid < threshold.value
    return [begin for begin, _ in _spans(beyond, apart=apart, at_least=1) if begin > first]


def _matched(
    spans: list[tuple[int, int]], starts: list[int], held: int, grace: int, n: int, step_seconds: float
) -> Warnings:
    leads: list[float] = []
    came_true, late = set(), set()
    for start in starts:
        for i, (begin, end) in enumerate(spans):
            told = begin + held
            if told <= start <= max(end, told + grace):
                leads.append((start - told) * step_seconds)
                came_true.add(i)
                break
            # What is told after the fact is an alert, no warning: neither right nor wrong.
            if start <= told <= start + grace:
                late.add(i)
    open_still = {i for i, (begin, end) in enumerate(spans) if max(end, begin + held + grace) >= n}
    counted = came_true | (set(range(len(spans))) - late - open_still)
    return Warnings(len(counted), len(came_true), len(starts), tuple(leads))
