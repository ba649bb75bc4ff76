"""Series that have just begun: what they start with, from their family or from the pool of their query.

A member of a known family takes over what the family knows at its first sample. Any
other waits for some samples of its own, which say at what level it lives, and then
borrows from the query's grown series what such a level usually comes with: how much
they vary, how far is too far, and the course of a day where they agree on one.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from sidecar.engine.arrays import RowArrays
from sidecar.engine.families import Families
from sidecar.engine.protocols import Detector
from sidecar.engine.siblings import KNOWN_SECONDS, births, donors
from sidecar.series import BoolArray, RowArray, SeriesBatch

UNTAUGHT, BY_FAMILY, BY_POOL, BY_ITSELF = range(4)

MOST_SAMPLES, FEWEST_SAMPLES, LISTEN_SECONDS = 5, 2, 1800.0
"""A series listens to itself for so long before it borrows: to be judged within its first hour."""


@runtime_checkable
class Borrower(Protocol):
    """A detector whose rows can start with what others of the query have in common."""

    def borrow(self, rows: RowArray, elders: RowArray, now_ms: int) -> RowArray:
        """Give `rows`, which have seen some samples, what `elders` share; those that took it."""
        ...


class Newcomers(RowArrays):
    """How each row of a query started. State 1 byte a row."""

    def __init__(self, step_seconds: float) -> None:
        super().__init__({"start": ((), np.int8)})
        self._step_seconds = step_seconds
        self.listens_samples = int(np.clip(LISTEN_SECONDS / step_seconds, FEWEST_SAMPLES, MOST_SAMPLES))
        """So many samples of its own a series has before it borrows from the pool."""

    @property
    def start(self) -> np.ndarray:
        """`UNTAUGHT`, `BY_FAMILY`, `BY_POOL` or `BY_ITSELF`, (n_rows,)."""
        return self.arrays["start"]

    def borrowing(self, seen_points: RowArray) -> BoolArray:
        """Rows whose judgement still rests on what others knew, (n_rows,)."""
        taught = (self.start == BY_FAMILY) | (self.start == BY_POOL)
        return np.asarray(taught & (seen_points * self._step_seconds < KNOWN_SECONDS))

    def cuts(self, values_seen: BoolArray, seen_points: RowArray, families: Families) -> list[int]:
        """Columns at which a row has to be taught before it is judged; `values_seen` is (N, T)."""
        young = np.flatnonzero((self.start == UNTAUGHT) & (seen_points < self.listens_samples))
        if not len(young) or not values_seen.shape[1]:
            return []
        found = {*births(values_seen, seen_points, families)}
        ahead = values_seen[young]
        for n_before in range(self.listens_samples):
            at = ahead.argmax(axis=1)
            there = ahead[np.arange(len(young)), at]
            ahead[np.arange(len(young)), at] = False
            listened = there & (seen_points[young] + n_before + 1 == self.listens_samples)
            found.update((at[listened] + 1).tolist())
        return sorted(column for column in found if 0 < column < values_seen.shape[1])

    def teach(
        self, part: SeriesBatch, seen_points: RowArray, families: Families, detector: Detector
    ) -> tuple[RowArray, RowArray]:
        """Let rows that begin with `part` start with what others know; family's heirs, and from whom."""
        untaught = self.start == UNTAUGHT
        if not untaught.any():
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        now_ms = int(part.timestamps[0])
        newborn = np.flatnonzero(untaught & (seen_points == 0) & np.isfinite(part.values[:, 0]))
        heirs, given_by = donors(newborn, families, seen_points, detector, now_ms, self._step_seconds)
        if len(heirs):
            detector.adopt(heirs, given_by, now_ms)
            self.start[heirs] = BY_FAMILY
        listened = np.flatnonzero(untaught & (seen_points >= self.listens_samples))
        if len(listened):
            self.start[listened] = BY_ITSELF
            elders = np.flatnonzero(families.in_use & (seen_points * self._step_seconds >= KNOWN_SECONDS))
            if isinstance(detector, Borrower):
                self.start[detector.borrow(listened, elders, now_ms)] = BY_POOL
        return heirs, given_by
