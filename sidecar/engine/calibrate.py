"""From a raw statistic to a score: thresholds that keep a false-alarm budget.

Peaks over threshold, online: for each row a high quantile u of the statistic is
followed, and the first two moments of the excess over it give a generalised
Pareto tail (method of moments, Hosking & Wallis 1987); the threshold q is where
that tail leaves the budget. Rows that are young borrow from the pool, the median
of the query's rows. What one excess teaches is capped, so that anomalies do not
raise the bar against themselves, and a cluster of excesses counts as one event.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from sidecar.engine.arrays import RowArrays
from sidecar.errors import ModelError
from sidecar.series import FloatArray, TimeArray

TAIL_SHARE = 0.02
"""The share of points beyond u; enough of them to learn from, few enough to be a tail."""

POOL_SECONDS = 3600
PRIOR_EXCESSES = 12.0
"""So many excesses of its own count as much as the pool's opinion."""

# Before any row has a tail: that of a Student's t with about 4 degrees of
# freedom, in units of the mean absolute error.
PRIOR_U, PRIOR_M1, PRIOR_M2 = 3.4, 1.3, 4.0
MIN_THRESHOLD, MAX_THRESHOLD = 2.5, 500.0
MONTH_SECONDS = 30 * 86400.0
MAX_SHAPE = 0.4

U, M1, M2, N_POINTS, N_EXCESSES, RUN, QUIET = range(7)
CLUSTER_POINTS = 5.0
"""So many points below u end a cluster of excesses."""


@njit(cache=True, inline="always")
def _threshold(u: float, m1: float, m2: float, rarity: float) -> float:
    """Where a GPD tail over u, with these moments, leaves `TAIL_SHARE * rarity`."""
    variance = max(m2 - m1 * m1, 1e-12)
    shape = 0.5 * (1.0 - m1 * m1 / variance)
    shape = min(max(shape, -0.05), MAX_SHAPE)
    scale = m1 * (1.0 - shape)
    excess = -scale * np.log(rarity) if abs(shape) < 1e-6 else scale / shape * (rarity**-shape - 1.0)
    return min(max(u + excess, MIN_THRESHOLD), MAX_THRESHOLD)


@njit(cache=True, nogil=True)
def _run(tail, pool, rarity, value, q_out):
    n_rows, n_steps = value.shape
    for row in range(n_rows):
        for t in range(n_steps):
            n = tail[row, N_EXCESSES]
            own = n / (n + PRIOR_EXCESSES)
            points = tail[row, N_POINTS]
            u_own = points / (points + 200.0)
            u = u_own * tail[row, U] + (1.0 - u_own) * pool[U]
            m1 = own * tail[row, M1] + (1.0 - own) * pool[M1]
            m2 = own * tail[row, M2] + (1.0 - own) * pool[M2]
            q = _threshold(u, m1, m2, rarity)
            q_out[row, t] = q
            s = value[row, t]
            if not np.isfinite(s):
                continue
            if points == 0.0:
                tail[row, U] = pool[U]
                tail[row, M1] = pool[M1]
                tail[row, M2] = pool[M2]
            step = max(0.02, 1.0 / np.sqrt(points + 4.0)) * max(tail[row, U], 0.1)
            over = s > tail[row, U]
            tail[row, U] += step * ((1.0 - TAIL_SHARE) if over else -TAIL_SHARE)
            tail[row, U] = max(tail[row, U], 0.05)
            tail[row, N_POINTS] = points + 1.0
            if not over:
                tail[row, QUIET] += 1.0
                if tail[row, QUIET] >= CLUSTER_POINTS:
                    tail[row, RUN] = 0.0
            else:
                tail[row, QUIET] = 0.0
                run = tail[row, RUN]
                tail[row, RUN] = run + 1.0
                excess = min(s, 1.5 * q) - u
                if excess > 0.0:
                    # Excesses of one cluster are one event: the later ones teach ever less.
                    rate = max(1.0 / (n + 1.0), 0.005) / (1.0 + run) ** 1.5
                    tail[row, M1] += rate * (excess - tail[row, M1])
                    tail[row, M2] += rate * (excess * excess - tail[row, M2])
                    tail[row, N_EXCESSES] = n + 1.0 / (1.0 + run) ** 1.5


class Calibrator(RowArrays):
    """Thresholds q, by row, such that `value > q` on normal points spends the budget.

    `budget_per_month`: false alarms a series and 30 days; `step_seconds`: one
    point each so often. State 56 bytes a row.
    """

    def __init__(self, budget_per_month: float, step_seconds: float) -> None:
        super().__init__({"tail": ((7,), np.float64)})
        share = min(budget_per_month * step_seconds / MONTH_SECONDS, TAIL_SHARE / 2)
        self._rarity = share / TAIL_SHARE
        self.pool = np.array([PRIOR_U, PRIOR_M1, PRIOR_M2])

    def update(self, timestamps: TimeArray, value: FloatArray) -> FloatArray:
        """q as it stood before each point, shape of `value`; the pool is renewed on the hour.

        Batches must not straddle an hour: `segments` cuts them.
        """
        q = np.empty(value.shape)
        _run(self.arrays["tail"], self.pool, self._rarity, np.ascontiguousarray(value), q)
        return q

    def thresholds(self) -> FloatArray:
        """q as it stands now, shape (n_rows,)."""
        q = np.empty((self.n_rows, 1))
        _run(self.arrays["tail"].copy(), self.pool, self._rarity, np.full((self.n_rows, 1), np.nan), q)
        current: FloatArray = q[:, 0]
        return current

    def state(self) -> dict[str, NDArray[Any]]:
        """The rows' tails, and the pool's."""
        return super().state() | {"pool": self.pool}

    def restore(self, state: dict[str, NDArray[Any]]) -> Self:
        """Take what `state` once gave. Raises: ModelError."""
        rows = {name: array for name, array in state.items() if name != "pool"}
        super().restore(rows)
        pool = state.get("pool", np.empty(0))
        if pool.shape != (3,):
            raise ModelError("state lacks the pool's three numbers")
        self.pool = np.array(pool)
        return self

    def renew_pool(self) -> None:
        """Let the rows that have a tail of their own say what is usual for the query."""
        tail = self.arrays["tail"]
        grown = tail[tail[:, N_EXCESSES] >= PRIOR_EXCESSES]
        if len(grown) >= 3:
            self.pool = np.median(grown[:, :3], axis=0)


def segments(
    timestamps: TimeArray, last_ms: int | None, also: Iterable[int] = ()
) -> list[tuple[int, int, bool]]:
    """Cuts (first, end, new_hour) of the columns, so that none holds two hours; `also`: more of them.

    Cutting by the clock, not by the batch, makes scores independent of how
    columns were batched: a restart or a catch-up says what an unbroken run says.
    """
    hours = timestamps // (POOL_SECONDS * 1000)
    previous = -1 if last_ms is None else last_ms // (POOL_SECONDS * 1000)
    cuts: list[tuple[int, int, bool]] = []
    first = 0
    for end in [*sorted({*(np.flatnonzero(np.diff(hours)) + 1).tolist(), *also}), len(hours)]:
        if end > first:
            cuts.append((first, end, bool(hours[first] != previous)))
            previous = int(hours[first])
            first = end
    return cuts
