"""Champion and challenger on the same live points: what each expected, and how far off it was."""

from __future__ import annotations

import math
import zlib
from typing import Any, NamedTuple

import numpy as np

from sidecar.engine.arrays import RowArrays
from sidecar.engine.registry_models import Standing
from sidecar.series import FloatArray, LabelSet, RowArray

LEAST_SERIES = 20
"""So many series are tried, or all, however small the share."""

LEAST_CHANGES = 5
"""Changes of a series that are seen before an error is measured in them."""

MOST_ERROR = 100.0
"""In mean changes: one point cannot decide a contest."""


class Said(NamedTuple):
    """What one model says of one moment; arrays (N,)."""

    yhat: FloatArray
    lower: FloatArray
    upper: FloatArray
    score: FloatArray


class Sums(NamedTuple):
    """What a model's standing is made of."""

    error: float = 0.0
    flagged: int = 0
    outside: int = 0


class LiveContest(RowArrays):
    """Standings of both over points that are new to both; 24 bytes a series for the unit of its errors."""

    def __init__(self) -> None:
        super().__init__({"changes": ((3,), np.float64)})
        self.n_points = 0
        self.sums = {"champion": Sums(), "challenger": Sums()}

    def observe(self, actual: FloatArray, champion: Said, challenger: Said) -> None:
        """Take one moment, (n_rows,) each; NaN where a series, or one of both, has nothing to say."""
        changes = self.arrays["changes"]
        last, moved, n = changes[:, 0], changes[:, 1], changes[:, 2]
        seen = np.isfinite(actual)
        unit = np.where(n >= LEAST_CHANGES, moved / np.maximum(n, 1.0), np.nan)
        known = seen & (unit > 0) & np.isfinite(champion.score) & np.isfinite(challenger.score)
        self.n_points += int(known.sum())
        for role, said in (("champion", champion), ("challenger", challenger)):
            self.sums[role] = _added(self.sums[role], actual[known], unit[known], said, known)
        before = seen & (n > 0)
        moved[before] += np.abs(actual[before] - last[before])
        last[seen], n[seen] = actual[seen], n[seen] + 1.0

    def standings(self) -> dict[str, Standing]:
        """As `registry_models.contest` gives them, of what was seen so far."""
        n = self.n_points
        return {
            role: Standing(
                n, one.error / n if n else math.nan, one.flagged, one.outside / n if n else math.nan
            )
            for role, one in self.sums.items()
        }

    def kept(self) -> dict[str, Any]:
        """What a restart has to know of it."""
        return {"n_points": self.n_points, **{role: list(one) for role, one in self.sums.items()}}

    def recall(self, kept: dict[str, Any]) -> None:
        """Take what `kept` once gave. Raises: KeyError, TypeError, ValueError where it is something else."""
        self.sums = {
            role: Sums(float(error), int(flagged), int(outside))
            for role, (error, flagged, outside) in ((role, kept[role]) for role in self.sums)
        }
        self.n_points = int(kept["n_points"])


def _added(sums: Sums, actual: FloatArray, unit: FloatArray, said: Said, known: np.ndarray) -> Sums:
    yhat, lower, upper, score = (part[known] for part in said)
    with np.errstate(invalid="ignore"):
        error = np.nan_to_num(np.abs(actual - yhat) / unit, nan=MOST_ERROR)
        outside = (actual < lower) | (actual > upper)
    return Sums(
        sums.error + float(np.minimum(error, MOST_ERROR).sum()),
        sums.flagged + int((score > 1).sum()),
        sums.outside + int(outside.sum()),
    )


def share_of(labels: tuple[LabelSet, ...], share: float) -> RowArray:
    """Rows of the series that a challenger is tried on: the same series whatever their order."""
    wanted = min(max(math.ceil(share * len(labels)), LEAST_SERIES), len(labels))
    order = sorted(range(len(labels)), key=lambda row: zlib.crc32(repr(labels[row].pairs).encode()))
    return np.sort(np.array(order[:wanted], dtype=np.int64))
