"""How each series stood to its season when something known of it began: an event multiplies that level."""

from __future__ import annotations

import numpy as np

from sidecar.engine.arrays import RowArrays
from sidecar.series import FloatArray

LEVEL_BOUNDS = (0.2, 5.0)


class LevelBefore(RowArrays):
    """What was expected last, and its part of the season while something known holds; 16 bytes a row.

    An event teaches nothing of today's level, so the one before it counts until it is over.
    """

    def __init__(self) -> None:
        super().__init__({"yhat": ((), np.float64), "level": ((), np.float64)})

    @property
    def held(self) -> bool:
        """Whether something known holds, since a column that was judged."""
        return bool(self.arrays["level"].any())

    def follow(self, yhat: FloatArray) -> None:
        """Take what was expected of the newest column, (n_rows,)."""
        self.arrays["yhat"][:] = np.nan_to_num(yhat)

    def hold(self, season: FloatArray) -> None:
        """Something known begins; `season` is what is usual at the column before, (n_rows,)."""
        yhat = self.arrays["yhat"]
        with np.errstate(divide="ignore", invalid="ignore"):
            level = yhat / season
        known = np.isfinite(level) & (yhat != 0)
        self.arrays["level"][:] = np.clip(np.where(known, level, 1.0), *LEVEL_BOUNDS)

    def let_go(self) -> None:
        """Nothing known holds any more."""
        self.arrays["level"][:] = 0.0

    def of_season(self) -> FloatArray:
        """Today's level as a part of the season, (n_rows,); 1 of series that came since."""
        level = self.arrays["level"]
        return np.where(level > 0, level, 1.0)
