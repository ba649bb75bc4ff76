"""A new series of a known family starts with what the family knows, instead of knowing nothing.

A pod that takes the place of another is judged from its first sample. Only families
whose members expect about the same are taken for one; in others a new member says
itself what is usual for it.
"""

from __future__ import annotations

import numpy as np

from sidecar.engine.families import Families
from sidecar.engine.protocols import Detector
from sidecar.series import BoolArray, RowArray

KNOWN_SECONDS = 86400.0  # A member that was seen so long can tell others.
ALIKE_SHARE = 0.8  # Of the members, that have to expect about what the middle one does.


def births(values_seen: BoolArray, seen_points: RowArray, families: Families) -> list[int]:
    """Columns in which a row that has relatives gets its first sample; `values_seen` is (N, T).

    Empty where nothing has been learnt yet: the first series of a query have no elders.
    """
    young = np.flatnonzero((seen_points == 0) & families.in_use & values_seen.any(axis=1))
    if not len(young):
        return []
    size = np.bincount(families.of_row[families.in_use], minlength=1)
    young = young[size[families.of_row[young]] > 1]
    first = values_seen[young].argmax(axis=1)
    return sorted(set(first.tolist()) - {0})


def donors(
    newborn: RowArray,
    families: Families,
    seen_points: RowArray,
    detector: Detector,
    now_ms: int,
    step_seconds: float,
) -> tuple[RowArray, RowArray]:
    """Rows that can start with another's knowledge, and the rows of those others: the family's middle one."""
    elders = families.in_use & (seen_points * step_seconds >= KNOWN_SECONDS)
    of_row = families.of_row
    wanted = newborn[np.isin(of_row[newborn], of_row[elders])]
    if not len(wanted):
        return wanted, wanted
    yhat, down, up = (a[:, 0] for a in detector.expect(np.array([now_ms], dtype=np.int64)))
    # All families at once, each from its least member to its largest: a roll-out may renew thousands.
    members = np.flatnonzero(elders & np.isfinite(yhat) & np.isin(of_row, of_row[wanted]))
    if not len(members):
        return members, members
    members = members[np.lexsort((yhat[members], of_row[members]))]
    family, begins, sizes = np.unique(of_row[members], return_index=True, return_counts=True)
    middle = members[begins + (sizes - 1) // 2]
    beside = np.repeat(middle, sizes)
    off = yhat[members] - yhat[beside]
    alike = (off <= up[beside]) & (off >= -down[beside])
    share = np.add.reduceat(alike.astype(np.int64), begins) / sizes
    giver = np.full(int(of_row.max()) + 1, -1, dtype=np.int64)
    giver[family] = np.where(share >= ALIKE_SHARE, middle, -1)
    heirs = wanted[giver[of_row[wanted]] >= 0]
    return heirs, giver[of_row[heirs]]
