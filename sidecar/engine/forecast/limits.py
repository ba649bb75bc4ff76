"""What live series show of themselves: bounds that they never left, and how large they ever were."""

from __future__ import annotations

import numpy as np
from numba import njit

from sidecar.engine.arrays import MAX_VALUE, RowArrays
from sidecar.engine.forecast.nature import NATURAL_CEILINGS, TIMES_AT_CEILING
from sidecar.series import FloatArray

UNHEARD_OF, UNLIKELY = 1e6, 1e15
"""A sample beyond both, the first in times of the largest so far, is no measurement until it has stayed."""

DISBELIEVED_SAMPLES = 30


@njit(cache=True, nogil=True)
def _learn(seen, lowest, highest, at_highest, disbelieved, values):
    """The lowest and the highest of each row so far, and how often it stood at the highest.

    What is not to be believed becomes NaN, in place.
    """
    for row in range(values.shape[0]):
        for t in range(values.shape[1]):
            y = values[row, t]
            if not abs(y) < MAX_VALUE:
                values[row, t] = np.nan
                continue
            unheard_of = UNHEARD_OF * max(-lowest[row], highest[row])
            if seen[row] and abs(y) > max(unheard_of, UNLIKELY):
                if disbelieved[row] < DISBELIEVED_SAMPLES:
                    disbelieved[row] += 1
                    values[row, t] = np.nan
                    continue
            else:
                disbelieved[row] = 0
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
    """What rows never left, of all samples that they had; 19 bytes a row."""

    def __init__(self) -> None:
        super().__init__(
            {
                "seen": ((), np.bool_),
                "lowest": ((), np.float64),
                "highest": ((), np.float64),
                "at_highest": ((), np.int8),
                "disbelieved": ((), np.int8),
            }
        )

    def update(self, values: FloatArray) -> FloatArray:
        """Learn columns, (n_rows, n_steps), and give back what is to be believed of them; NaN: not that.

        A difference of unsigned numbers that wraps comes as 1.8e19: one such sample would be in the profiles
        of a series for years.
        """
        believed = np.array(values)
        _learn(*self._arrays(), believed)
        return believed

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
