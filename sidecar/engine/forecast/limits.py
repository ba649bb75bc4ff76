"""The bounds that live series show of themselves: never below zero, or never above 1 or 100."""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.arrays import RowArrays
from sidecar.engine.forecast.nature import NATURAL_CEILINGS, TIMES_AT_CEILING
from sidecar.series import FloatArray


@njit(cache=True, nogil=True)
def _learn(seen, lowest, highest, at_highest, values):
    """The lowest and the highest of each row so far, and how often it stood at the highest."""
    for row in range(values.shape[0]):
        for y in values[row]:
            if not np.isfinite(y):
                continue
            if not seen[row]:
                seen[row] = True
                lowest[row] = highest[row] = y
            lowest[row] = min(lowest[row], y)
            if y > highest[row]:
                highest[row] = y
                at_highest[row] = 0
            if y == highest[row] and at_highest[row] < 100:
                at_highest[row] += 1


class SeenLimits(RowArrays):
    """What rows never left, of all samples that they had; 18 bytes a row."""

    def __init__(self) -> None:
        super().__init__(
            {
                "seen": ((), np.bool_),
                "lowest": ((), np.float64),
                "highest": ((), np.float64),
                "at_highest": ((), np.int8),
            }
        )

    def update(self, values: FloatArray) -> None:
        """Learn columns, (n_rows, n_steps)."""
        _learn(*self._arrays(), np.ascontiguousarray(values))

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Floors, 0 where a row never was negative, and ceilings, 1 or 100 where it stood there; (n_rows,).

        Infinite where there is none.
        """
        a = self.arrays
        positive = a["seen"] & (a["lowest"] >= 0.0)
        stood = positive & (a["at_highest"] >= TIMES_AT_CEILING) & (a["lowest"] < a["highest"])
        return np.where(positive, 0.0, -np.inf), np.where(
            stood & np.isin(a["highest"], NATURAL_CEILINGS), a["highest"], np.inf
        )

    def never_negative(self, row: int) -> bool:
        """Whether all samples of a row were zero or more."""
        return bool(self.arrays["seen"][row] and self.arrays["lowest"][row] >= 0.0)
