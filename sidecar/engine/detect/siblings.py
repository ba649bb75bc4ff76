"""One series unlike its siblings: each against the middle of its family at the same moment.

A family's members share a course, whatever it is: the evening peak moves all of them.
What is learnt of each is how far it usually stands from the middle, and how much that varies;
what is judged is the rest. A family is what differs in pod, instance and the like only. Where
too few of it are there (one replica, or three), the middle of the whole query stands in: what is
learnt of a series beside it is kept apart, so that a rollout that makes a family large enough for
some minutes changes nothing.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.detect.calibrated import (
    CENTRE,
    LAST_SECONDS,
    N_NOW,
    SAMPLES,
    SCALE_DOWN,
    SCALE_UP,
    CalibratedDetector,
)
from sidecar.engine.families import Families
from sidecar.engine.protocols import Statistic
from sidecar.series import RowArray, SeriesBatch

LEAST_MEMBERS = 5
"""Of fewer the middle is no better than its members."""

LEAST = 20  # Samples of its own before a series is judged.
MEMORY_SECONDS = 86400.0
CLIP = 4.0  # In scales: how much one sample may teach.
FLOOR = 0.01  # Of the family's level: differences below this do not matter.

OFFSET, SPREAD, LEVEL, SEEN, SINCE = range(5)
BESIDE_FAMILY, BESIDE_ALL = range(2)


@njit(cache=True, nogil=True)
def _run(now, beside, seconds, x, value, yhat, down, up, order, starts, whom):
    """Judge by the groups that `starts` cuts `order` into, learning what is kept of `whom`."""
    members = np.empty(x.shape[0])
    for t in range(x.shape[1]):
        for group in range(len(starts) - 1):
            n = 0
            for k in range(starts[group], starts[group + 1]):
                y = x[order[k], t]
                if np.isfinite(y):
                    members[n] = y
                    n += 1
            if n < LEAST_MEMBERS:
                continue
            middle = np.median(members[:n])
            for k in range(starts[group], starts[group + 1]):
                row = order[k]
                y = x[row, t]
                if not np.isfinite(y):
                    continue
                s = beside[row, whom]
                pace = 1.0 - np.exp(-max(seconds[t] - s[SINCE], 0.0) / MEMORY_SECONDS)
                pace = max(pace, 1.0 / (s[SEEN] + 1.0))
                s[LEVEL] += pace * (abs(middle) - s[LEVEL])
                # Relative to the level, so that a pod with a tenth more has a tenth more at any hour.
                unit = max(abs(middle), 0.1 * s[LEVEL], 1e-9)
                off = (y - middle) / unit - s[OFFSET]
                scale = max(s[SPREAD], FLOOR)
                if s[SEEN] >= LEAST:
                    yhat[row, t] = middle + s[OFFSET] * unit
                    down[row, t] = up[row, t] = scale * unit
                    value[row, t] = abs(off) / scale
                    now[row, CENTRE] = yhat[row, t]
                    now[row, SCALE_DOWN] = now[row, SCALE_UP] = scale * unit
                    off = min(max(off, -CLIP * scale), CLIP * scale)
                s[OFFSET] += pace * off
                s[SPREAD] += pace * (1.2533 * abs(off) - s[SPREAD])  # Of a Gaussian, sigma by mean size.
                s[SEEN] += 1.0
                s[SINCE] = seconds[t]
                now[row, SAMPLES], now[row, LAST_SECONDS] = max(now[row, SAMPLES], s[SEEN]), seconds[t]


class SiblingsDetector(CalibratedDetector):
    """The detector `siblings`; see the module's docstring. State 176 bytes a series with its threshold."""

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        layout = {"now": ((N_NOW,), np.float64), "beside": ((2, 5), np.float64)}
        super().__init__(self._by_family, layout, budget_per_month, step_seconds)
        self._families = Families()
        self._order: RowArray = np.zeros(0, dtype=np.int64)
        self._starts: RowArray = np.zeros(1, dtype=np.int64)

    def update(self, batch: SeriesBatch) -> Statistic:
        """The bare statistic of the columns, learning them."""
        self._order, self._starts = families_of(self._families, batch)
        return super().update(batch)

    def _by_family(self, *arrays):
        if len(self._starts) > 2:
            _run(*arrays, self._order, self._starts[[0, -1]], BESIDE_ALL)
        # What the family says counts, where it says something.
        _run(*arrays, self._order, self._starts, BESIDE_FAMILY)


def families_of(families: Families, batch: SeriesBatch) -> tuple[RowArray, RowArray]:
    """Rows ordered by family, and where each family begins in that order, the end included."""
    families.follow(batch.labels)
    alive = np.flatnonzero(families.in_use)
    order = np.argsort(families.of_row[alive], kind="stable")
    cuts = np.flatnonzero(np.diff(families.of_row[alive][order])) + 1
    starts = np.concatenate([[0], cuts, [len(order)]]).astype(np.int64)
    return alive[order].astype(np.int64), starts
