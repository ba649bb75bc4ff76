"""Which series are siblings: those that differ only in labels that name something replaceable."""

from __future__ import annotations

import numpy as np

from sidecar.engine.index import GONE
from sidecar.series import BoolArray, LabelSet, RowArray

PASSING = (
    "pod",
    "pod_name",
    "pod_ip",
    "instance",
    "container_id",
    "uid",
    "replicaset",
    "pod_template_hash",
)
"""Labels whose values name something that is replaced, not repaired."""

FORGET = 4  # So many times more families than rows are remembered before those without a row are forgotten.


class Families:
    """The family of each row of an index, as numbers; only rows whose series changed are looked at again."""

    def __init__(self) -> None:
        self._labels: tuple[LabelSet, ...] = ()
        self._numbers: dict[LabelSet, int] = {}
        self.of_row: RowArray = np.zeros(0, dtype=np.int64)
        self.in_use: BoolArray = np.zeros(0, dtype=np.bool_)

    def follow(self, labels: tuple[LabelSet, ...]) -> None:
        """Take the labels of the rows as they are now."""
        if labels is self._labels:
            return
        if len(self._numbers) > FORGET * max(len(labels), 1000):
            self._labels, self._numbers = (), {}  # Families that died out; the living are numbered anew.
        known = len(self._labels)
        changed = [
            row for row, (old, new) in enumerate(zip(self._labels, labels, strict=False)) if old is not new
        ]
        changed.extend(range(known, len(labels)))
        of_row, in_use = np.zeros(len(labels), dtype=np.int64), np.zeros(len(labels), dtype=np.bool_)
        of_row[:known], in_use[:known] = self.of_row[:known], self.in_use[:known]
        for row in changed:
            family = labels[row].without(*PASSING)
            of_row[row] = self._numbers.setdefault(family, len(self._numbers))
            in_use[row] = labels[row] is not GONE
        self._labels, self.of_row, self.in_use = labels, of_row, in_use
