"""Whether what comes in has changed: adaptive windows over hours, all series at once.

ADWIN keeps a window of the newest values as buckets of ever coarser sums and drops its older part as soon as
two parts of it differ by more than chance allows. All series are given one value an hour, so the
buckets' bounds are the same for all, and a cut only empties a series' older ones.

Source: Bifet and Gavaldà (2007), Learning from Time-Changing Data with Adaptive Windowing: the cut
condition of its second version, with M buckets a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from sidecar.engine.arrays import RowArrays
from sidecar.engine.protocols import State
from sidecar.errors import ModelError
from sidecar.series import BoolArray, FloatArray

CONFIDENCE = 0.002
"""ADWIN's delta: bound on the probability of a cut where nothing changed."""

BUCKETS, LEVELS = 4, 7
"""Buckets of a level, of which the two oldest become one of the next; all hold the hours of 16 to 21 days."""

LEAST_HOURS = 5
"""No part of a window that is shorter is compared."""

_N, _SUM, _SQUARE = range(3)

HOURS = 7 * 24
PROFILE_WEEKS, SCALE_HOURS = 4.0, 7 * 24.0
CLIP = 3.0
"""In usual deviations from the hour's profile: what one hour may say."""

YOUNG_HOURS = 8 * 24
"""Until a series has so many hours its profile is not known."""

LASTS_HOURS = 24
"""So long after a cut a series counts as changed."""

HOUR_MS = 3_600_000


class AdaptiveWindow(RowArrays):
    """The windows of a query's series; values within -1..1, one for all at a time, NaN for none."""

    def __init__(self) -> None:
        super().__init__({"buckets": ((LEVELS, BUCKETS, 3), np.float32)})
        self.used = [0] * LEVELS
        """Buckets of each level, the oldest first."""

    def observe(self, values: FloatArray) -> BoolArray:
        """Take the newest values, (n_rows,); which windows were cut, because there was a change."""
        known = np.isfinite(values)
        x = np.where(known, values, 0.0)
        self._push(np.stack([known.astype(np.float64), x, x * x], axis=1))
        return self._cut()

    def _push(self, bucket: FloatArray) -> None:
        buckets = self.arrays["buckets"]
        for level in range(LEVELS):
            if self.used[level] < BUCKETS:
                buckets[:, level, self.used[level]] = bucket
                self.used[level] += 1
                return
            merged = buckets[:, level, 0] + buckets[:, level, 1]
            buckets[:, level, : BUCKETS - 2] = buckets[:, level, 2:].copy()
            buckets[:, level, BUCKETS - 2] = bucket
            buckets[:, level, BUCKETS - 1] = 0.0
            self.used[level] = BUCKETS - 1
            bucket = merged

    def _cut(self) -> BoolArray:
        places = [(level, k) for level in range(LEVELS - 1, -1, -1) for k in range(self.used[level])]
        cut = np.zeros(self.n_rows, dtype=np.bool_)
        _cut_rows(self.arrays["buckets"], np.array(places), cut)
        return cut


@njit(cache=True, nogil=True)
def _cut_rows(buckets, places, cut):
    """Empty what is older than the newest bound at which two parts of a row's window differ."""
    for row in range(len(buckets)):
        b = buckets[row]
        n = total = squares = 0.0
        for level, k in places:
            n += b[level, k, _N]
            total += b[level, k, _SUM]
            squares += b[level, k, _SQUARE]
        if n < 2 * LEAST_HOURS:
            continue
        variance = max(squares / n - (total / n) ** 2, 0.0)
        chance = np.log(2.0 * np.log(n) / CONFIDENCE)
        n_old = of_old = 0.0
        last = -1
        for at in range(len(places)):
            level, k = places[at]
            n_old += b[level, k, _N]
            of_old += b[level, k, _SUM]
            n_new = n - n_old
            if n_old < LEAST_HOURS or n_new < LEAST_HOURS:
                continue
            inverse = 1.0 / n_old + 1.0 / n_new
            apart = abs(of_old / n_old - (total - of_old) / n_new)
            if apart > np.sqrt(2.0 * inverse * variance * chance) + 2.0 / 3.0 * inverse * chance:
                last = at
        cut[row] = last >= 0
        for at in range(last + 1):
            level, k = places[at]
            b[level, k] = 0.0


class InputDrift(RowArrays):
    """Changes in what comes in, whatever the season: each hour against the same hour of earlier weeks.

    1,049 bytes a series.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "profile": ((HOURS,), np.float32),
                "visited": ((HOURS // 8,), np.uint8),
                "scalars": ((5,), np.float32),
            }
        )
        self._window = AdaptiveWindow()
        self._hour: int | None = None

    def resize(self, n_rows: int) -> None:
        """Make room for so many rows."""
        super().resize(n_rows)
        self._window.resize(n_rows)

    def reset(self, rows: np.ndarray) -> None:
        """Forget what was learnt of these rows."""
        super().reset(rows)
        self._window.reset(rows)

    def state(self) -> State:
        """The arrays themselves, those of the window included."""
        return super().state() | self._window.state()

    @property
    def clock(self) -> list[int]:
        """What is the same for all rows: how many buckets of a level are used, and the hour once known."""
        return [*self._window.used, *([] if self._hour is None else [self._hour])]

    def go_on(self, clock: Sequence[int]) -> None:
        """Go on with arrays that an earlier one of the `clock` had.

        Raises: ModelError where it is none.
        """
        used, hour = list(clock[:LEVELS]), list(clock[LEVELS:])
        if len(used) != LEVELS or len(hour) > 1 or not all(0 <= n <= BUCKETS for n in used):
            raise ModelError(f"no clock of windows: {clock}")
        self._window.used = used
        self._hour = hour[0] if hour else None

    def observe(self, timestamp_ms: int, values: FloatArray) -> None:
        """Take the newest column, (n_rows,); an hour is looked at when it is over."""
        hour = timestamp_ms // HOUR_MS
        if self._hour is not None and hour != self._hour:
            self._end_hour(self._hour, hour)
        self._hour = hour
        scalars = self.arrays["scalars"]
        with np.errstate(over="ignore"):
            scalars[:, _OF_HOUR] += np.where(np.isfinite(values), values, 0.0)
        scalars[:, _POINTS] += np.isfinite(values)

    def changed(self) -> BoolArray:
        """Rows whose input changed within the last day, (n_rows,)."""
        return np.asarray(self.arrays["scalars"][:, _CHANGED] > 0)

    def _end_hour(self, hour: int, now: int) -> None:
        scalars, profile = self.arrays["scalars"], self.arrays["profile"][:, hour % HOURS]
        points, seen = scalars[:, _POINTS], scalars[:, _SEEN]
        known = (points > 0) & np.isfinite(scalars[:, _OF_HOUR])
        mean = np.where(known, scalars[:, _OF_HOUR] / np.maximum(points, 1.0), np.nan)
        # An outage in the first week leaves hours of it without a profile, whatever is known of the others.
        marks, mark = self.arrays["visited"][:, hour % HOURS // 8], np.uint8(1 << hour % 8)
        visited = (marks & mark) > 0
        old = known & visited & (seen >= HOURS)
        deviation = np.where(old, mean - profile, np.nan)
        usual = scalars[:, _SCALE]
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.where(seen >= YOUNG_HOURS, np.clip(deviation / (CLIP * usual), -1.0, 1.0), np.nan)
        scalars[:, _CHANGED] = np.maximum(scalars[:, _CHANGED] - (now - hour), 0.0)
        scalars[self._window.observe(value), _CHANGED] = LASTS_HOURS
        size = np.minimum(np.abs(deviation), np.where(seen >= YOUNG_HOURS, CLIP * usual, np.inf))
        pace = np.maximum(1.0 / np.maximum(seen - HOURS + 1.0, 1.0), 1.0 / SCALE_HOURS)
        scalars[old, _SCALE] += (pace * (size - usual))[old]
        weeks = np.where(visited, np.minimum(seen // HOURS + 1.0, PROFILE_WEEKS), 1.0)
        profile[known] += ((mean - profile) / weeks)[known]
        marks[known] |= mark
        seen[known] += 1.0
        scalars[:, _OF_HOUR] = scalars[:, _POINTS] = 0.0


_OF_HOUR, _POINTS, _SEEN, _SCALE, _CHANGED = range(5)
