"""When an alert would have been pending, firing and over: Prometheus' `for` and `keep_firing_for`, exactly.

Pure. An alert is active at a step where its expression gives its series. It fires
from the first step at which it has been active without a gap for `for`, and is over
at the first inactive step that lies `keep_firing_for` or more after the first inactive
one. Source: Prometheus' documentation of alerting rules, and its behaviour as tests/integration
compares it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sidecar.series import BoolArray, TimeArray


@dataclass(frozen=True, slots=True)
class Firing:
    """One alert of one series: first step that fires, first step after (int64 ms), active since."""

    row: int
    start_ms: int
    end_ms: int
    active_ms: int

    @property
    def seconds(self) -> float:
        """How long it fired."""
        return (self.end_ms - self.start_ms) / 1000


def firings(
    active: BoolArray,
    times: TimeArray,
    *,
    for_seconds: float = 0.0,
    keep_firing_seconds: float = 0.0,
    stays: BoolArray | None = None,
) -> list[Firing]:
    """Every firing of every row, by row and time.

    Parameters: `active` (N, T): the expression gives the series at the step. `times` (T,) ms, evenly
    spaced. `stays` (N, T): where an alert that fires already goes on (hysteresis), beside `active`.
    Returns: an alert that fires at the last step ends one step after it.

    >>> active = np.array([[False, True, True, True, False, True]])
    >>> firings(active, np.arange(6) * 60_000, for_seconds=60)
    [Firing(row=0, start_ms=120000, end_ms=240000, active_ms=60000)]
    """
    if times.size == 0:
        return []
    hold, keep = round(for_seconds * 1000), round(keep_firing_seconds * 1000)
    over_ms = int(times[-1] + (times[-1] - times[-2] if times.size > 1 else 1))
    found: list[Firing] = []
    for row, is_active in enumerate(active):
        if is_active.any():
            going_on = is_active if stays is None else is_active | stays[row]
            found.extend(_of_row(row, is_active, going_on, times, hold, keep, over_ms))
    return found


def _of_row(
    row: int,
    active: BoolArray,
    going_on: BoolArray,
    times: TimeArray,
    hold_ms: int,
    keep_ms: int,
    over_ms: int,
) -> list[Firing]:
    begins, ends = _runs(active)
    still_begins, still_ends = _runs(going_on)
    found: list[Firing] = []
    after = 0  # Steps before this one belong to a firing that was told already.
    for begin, end in zip(begins, ends, strict=True):
        if end <= after:
            continue
        first = int(np.searchsorted(times, times[begin] + hold_ms))
        if first >= end:
            continue
        until = _until(first, still_begins, still_ends, times, keep_ms)
        end_ms = int(times[until]) if until < times.size else over_ms
        found.append(Firing(row, int(times[first]), end_ms, int(times[begin])))
        after = until
    return found


def _until(first: int, begins: np.ndarray, ends: np.ndarray, times: TimeArray, keep_ms: int) -> int:
    """The first step at which an alert that fires at `first` is over; len(times) where it is not."""
    run = int(np.searchsorted(ends, first, side="right"))
    while True:
        gone = int(ends[run])
        if gone >= times.size:
            return times.size
        over = int(np.searchsorted(times, times[gone] + keep_ms))
        if run + 1 >= begins.size or over < begins[run + 1]:
            return over
        run += 1


def _runs(flags: BoolArray) -> tuple[np.ndarray, np.ndarray]:
    """First steps of runs of True, and first steps after them."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return edges[::2], edges[1::2]
