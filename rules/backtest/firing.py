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
    over_ms = end_of(times)
    found: list[Firing] = []
    for row, is_active in enumerate(active):
        if is_active.any():
            going_on = is_active if stays is None else is_active | stays[row]
            found.extend(_of_row(row, is_active, going_on, times, hold, keep, over_ms))
    return found


def end_of(times: TimeArray) -> int:
    """One step after the last: when what fires then is taken to end."""
    return int(times[-1] + (times[-1] - times[-2] if times.size > 1 else 1))


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
    firsts = np.searchsorted(times, times[begins] + hold_ms)
    fires = firsts < ends
    if not fires.any():
        return []
    still_begins, still_ends = _runs(going_on)
    overs = _overs(still_begins, still_ends, times, keep_ms)
    untils = overs[np.searchsorted(still_ends, firsts[fires], side="right")]
    found: list[Firing] = []
    after = 0  # Steps before this one belong to a firing that was told already.
    for begin, first, until in zip(
        begins[fires].tolist(), firsts[fires].tolist(), untils.tolist(), strict=True
    ):
        if first < after:
            continue
        end_ms = int(times[until]) if until < times.size else over_ms
        found.append(Firing(row, int(times[first]), end_ms, int(times[begin])))
        after = until
    return found


def _overs(begins: np.ndarray, ends: np.ndarray, times: TimeArray, keep_ms: int) -> np.ndarray:
    """By run the first step at which an alert that fires in it is over; len(times) where it is not.

    A gap that is shorter than `keep_ms` ends nothing: what fires before it is over when the next run is.
    """
    gone = np.minimum(ends, times.size - 1)
    overs = np.where(ends < times.size, np.searchsorted(times, times[gone] + keep_ms), times.size)
    for run in range(len(overs) - 2, -1, -1) if keep_ms else ():
        if overs[run] >= begins[run + 1]:
            overs[run] = overs[run + 1]
    return overs


def _runs(flags: BoolArray) -> tuple[np.ndarray, np.ndarray]:
    """First steps of runs of True, and first steps after them."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return edges[::2], edges[1::2]
