"""What a group's `limit` does: an evaluation with more alerts fails, and all of the rule's are forgotten.

Pure. Pending alerts count, and those that `keep_firing_for` holds. After such an evaluation each alert begins
anew, its `for` too. As Prometheus does it (rules/alerting.go); tests/integration compares.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from rules.backtest.firing import Firing, end_of, firings
from sidecar.series import BoolArray, TimeArray


def limited_firings(
    active: BoolArray,
    times: TimeArray,
    *,
    for_seconds: float,
    keep_firing_seconds: float,
    limit: int,
    stays: BoolArray | None = None,
) -> list[Firing]:
    """Every firing of a rule that may give `limit` alerts at once, by row and time; 0: any number.

    `stays`: where a firing alert goes on though it is not active, as by hysteresis.

    >>> active = np.array([[True, True, True, True], [False, True, False, False]])
    >>> for one in limited_firings(active, np.arange(4), for_seconds=0, keep_firing_seconds=0, limit=1):
    ...     print(one)
    Firing(row=0, start_ms=0, end_ms=1, active_ms=0)
    Firing(row=0, start_ms=2, end_ms=4, active_ms=2)
    """
    held = partial(firings, times=times, for_seconds=for_seconds, keep_firing_seconds=keep_firing_seconds)
    there = active if stays is None else active | stays
    if not limit or np.count_nonzero(there.any(axis=1)) <= limit:
        return held(active, stays=stays)
    keep_ms = round(keep_firing_seconds * 1000)
    if not keep_ms or stays is not None:
        # Nothing outlives an evaluation that fails, so that it is as if nothing had been active.
        taken = np.count_nonzero(active, axis=0) <= limit
        return held(active & taken, stays=None if stays is None else stays & taken)
    if np.count_nonzero(_kept(active, times, keep_ms), axis=0).max() <= limit:
        return held(active)
    return _Evaluations(active, times, round(for_seconds * 1000), keep_ms).run(limit)


def _kept(active: BoolArray, times: TimeArray, keep_ms: int) -> BoolArray:
    """(N, T) where a row is active or was within that time: more than it can be kept."""
    last = np.maximum.accumulate(np.where(active, times, times[0] - 2 * keep_ms - 1), axis=1)
    kept: BoolArray = times - last <= keep_ms + (times[1] - times[0] if times.size > 1 else 0)
    return kept


class _Evaluations:
    """One evaluation after the other, with what Prometheus remembers of each alert between them."""

    def __init__(self, active: BoolArray, times: TimeArray, hold_ms: int, keep_ms: int) -> None:
        self._active, self._times, self._hold_ms, self._keep_ms = active, times, hold_ms, keep_ms
        n_rows = len(active)
        self._begun = np.zeros(n_rows, dtype=np.int64)
        self._gone = np.zeros(n_rows, dtype=np.int64)
        self._started = np.zeros(n_rows, dtype=np.int64)
        self._known, self._fires, self._left = np.zeros((3, n_rows), dtype=np.bool_)
        self._found: list[Firing] = []

    def run(self, limit: int) -> list[Firing]:
        """All firings, by row and time."""
        for column, moment in enumerate(self._times.tolist()):
            here = self._active[:, column]
            self._gone[~here & ~self._left] = moment
            self._left = ~here
            there = here | (self._fires & (moment - self._gone < self._keep_ms))
            if np.count_nonzero(there) > limit:
                there = np.zeros_like(here)
            self._end(self._fires & ~there, moment)
            self._begun[there & ~self._known] = moment
            self._known = there
            starts = there & ~self._fires & (moment - self._begun >= self._hold_ms)
            self._started[starts] = moment
            self._fires |= starts
        self._end(self._fires, end_of(self._times))
        return sorted(self._found, key=lambda one: (one.row, one.start_ms))

    def _end(self, rows: BoolArray, moment: int) -> None:
        for row in np.flatnonzero(rows).tolist():
            self._found.append(Firing(row, int(self._started[row]), moment, int(self._begun[row])))
        self._fires = self._fires & ~rows
