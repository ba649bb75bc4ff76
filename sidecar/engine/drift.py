"""Whether expectations are off on one side for long: Page and Hinkley's test, all series at once."""

from __future__ import annotations

import numpy as np

from sidecar.engine.arrays import RowArrays
from sidecar.series import BoolArray, FloatArray

TOLERATED = 0.15
"""Mean deviation, in half-widths of the band, that is nobody's concern."""

THRESHOLD = 30.0
"""Summed excess that is drift: half a half-width for 86 steps, say, or a whole one for 36."""

MOST = 2.0 * THRESHOLD
"""No sum grows beyond this, so that a model that has recovered is believed again."""

_UP, _DOWN = 0, 1


class PageHinkley(RowArrays):
    """Two-sided sums of deviations by row; 16 bytes a series.

    Source: Page (1954), Continuous inspection schemes; Hinkley (1971), Inference about the change-point from
    cumulative sum tests. Deviations are clipped to the band, so one spike says no more than its edge.
    """

    def __init__(self) -> None:
        super().__init__({"sums": ((2,), np.float64)})

    def observe(self, deviation: FloatArray) -> None:
        """Take the newest signed deviations in half-widths of the band, (n_rows,); NaN teaches nothing."""
        clipped = np.clip(np.nan_to_num(deviation, posinf=1.0, neginf=-1.0), -1.0, 1.0)
        sums, known = self.arrays["sums"], ~np.isnan(deviation)
        for side, sign in ((_UP, 1.0), (_DOWN, -1.0)):
            moved = np.clip(sums[:, side] + sign * clipped - TOLERATED, 0.0, MOST)
            sums[:, side] = np.where(known, moved, sums[:, side])

    def drifting(self) -> BoolArray:
        """Rows whose expectations are off now, (n_rows,)."""
        return np.asarray((self.arrays["sums"] > THRESHOLD).any(axis=1))
