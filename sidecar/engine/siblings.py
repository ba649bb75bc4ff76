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
    chosen: list[tuple[int, int]] = []
    for family in np.unique(of_row[wanted]).tolist():
        members = np.flatnonzero(elders & (of_row == family) & np.isfinite(yhat))
        if not len(members):
            continue
        middle = int(members[np.argsort(yhat[members], kind="stable")[(len(members) - 1) // 2]])
        off = yhat[members] - yhat[middle]
        alike = (off <= up[middle]) & (off >= -down[middle])
        if alike.mean() >= ALIKE_SHARE:
            chosen.extend((row, middle) for row in wanted[of_row[wanted] == family].tolist())
    pairs = np.array(chosen, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]
