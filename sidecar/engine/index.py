"""Which series lives in which row: rows are stable while a series lives, and are reused after it."""

from __future__ import annotations

import heapq

import numpy as np

from sidecar.series import LabelSet, RowArray, SeriesBatch

GONE = LabelSet()

RETIRE_MS, RETIRE_STEPS = 86_400_000, 10
"""A series that was absent for so long gives up its row, at long steps for so many: within a day it would be
gone before its second sample is missing."""

CROWD_ROWS, CROWD_SHARE = 1000, 2.0
"""More rows than this, and than so many times those that were there at once, are a crowd of the gone."""

LATELY_MS = 3_600_000
MOST_FADES = 1.0 - 1.0 / 24
"""How many were there at once is remembered for about a day: jobs of the night do not push out the day's."""


class SeriesIndex:
    """Label sets to stable integer rows, growing geometrically.

    A series that was absent for `retire_after_ms` of query time gives up its row. `step_seconds`: one
    column each so often.
    """

    def __init__(self, step_seconds: float = 0.0) -> None:
        self.retire_after_ms = max(RETIRE_MS, round(RETIRE_STEPS * step_seconds * 1000))
        self.labels: tuple[LabelSet, ...] = ()
        self.last_seen_ms = np.zeros(0, dtype=np.int64)
        self._rows: dict[LabelSet, int] = {}
        self._free: list[int] = []
        self._last_batch: tuple[LabelSet, ...] | None = None
        self._last_rows = np.zeros(0, dtype=np.int64)
        self.most_lately = 0.0
        """How many were seen within an hour, at most, of late."""

    @property
    def n_rows(self) -> int:
        """Rows in all, free ones too."""
        return len(self.labels)

    @property
    def n_series(self) -> int:
        """Rows in use."""
        return len(self._rows)

    def restore(self, labels: tuple[LabelSet, ...], last_seen_ms: RowArray) -> None:
        """Take rows as they once were."""
        rows = list(labels)
        self._free = np.flatnonzero(last_seen_ms <= 0).tolist()
        for row in self._free:
            rows[row] = GONE  # It is told from a series without labels by being this very object.
        self.labels = tuple(rows)
        self.last_seen_ms = last_seen_ms.astype(np.int64)
        self._rows = {label_set: row for row, label_set in enumerate(labels) if last_seen_ms[row] > 0}
        self._last_batch = None
        self.most_lately = float(self.n_series)  # Until hours have told, none is one too many.

    def expect(self, labels: tuple[LabelSet, ...], until_ms: RowArray, *, now_ms: int) -> None:
        """Let series have their rows until then, however long they pause."""
        rows = self.rows(labels, now_ms)
        self.last_seen_ms[rows] = np.maximum(self.last_seen_ms[rows], until_ms)

    def retire(self, now_ms: int) -> RowArray:
        """Free the rows of series not seen for too long; the rows, to be forgotten by the models."""
        gone = np.flatnonzero((self.last_seen_ms > 0) & (self.last_seen_ms < now_ms - self.retire_after_ms))
        return self._freed(gone)

    def make_room(self, now_ms: int, worth: RowArray) -> RowArray:
        """Free rows of the gone where they are a crowd, those first that are worth least; the rows.

        To be asked once an hour. Where pods live for minutes, a day of them is far more than a query has.
        `worth` (n_rows,): what would be lost with each.
        """
        lately = self.last_seen_ms >= now_ms - LATELY_MS
        self.most_lately = max(float(lately.sum()), self.most_lately * MOST_FADES)
        most = max(CROWD_SHARE * self.most_lately, CROWD_ROWS)
        if self.n_series <= most:
            return np.zeros(0, dtype=np.int64)
        gone = np.flatnonzero((self.last_seen_ms > 0) & ~lately)
        order = np.lexsort((gone, self.last_seen_ms[gone], worth[gone]))
        # Some room is left for those to come, so that this is not done each hour.
        return self._freed(np.sort(gone[order[: self.n_series - int(0.75 * most)]]))

    def _freed(self, gone: RowArray) -> RowArray:
        if len(gone):
            labels = list(self.labels)
            for row in gone.tolist():
                del self._rows[labels[row]]
                labels[row] = GONE
                heapq.heappush(self._free, row)
            self.labels = tuple(labels)
            self.last_seen_ms[gone] = 0
            self._last_batch = None
        return gone

    def rows(self, labels: tuple[LabelSet, ...], now_ms: int) -> RowArray:
        """The row of each label set; unseen ones get a row."""
        # The client hands out the same label objects for the same series, and a comparison
        # of tuples looks at identity first: a steady set is recognised in a millisecond.
        if self._last_batch == labels:
            return self._last_rows
        unseen = [label_set for label_set in labels if label_set not in self._rows]
        if unseen:
            self._admit(unseen, now_ms)
        rows = np.fromiter((self._rows[label_set] for label_set in labels), dtype=np.int64, count=len(labels))
        self._last_batch, self._last_rows = labels, rows
        return rows

    def _admit(self, unseen: list[LabelSet], now_ms: int) -> None:
        labels = list(self.labels)
        for label_set in unseen:
            if label_set in self._rows:
                continue
            if self._free:
                row = heapq.heappop(self._free)  # The lowest, so that a restored index chooses alike.
                labels[row] = label_set
            else:
                row = len(labels)
                labels.append(label_set)
            self._rows[label_set] = row
        grown = np.zeros(len(labels), dtype=np.int64)
        grown[: len(self.last_seen_ms)] = self.last_seen_ms
        for label_set in unseen:
            grown[self._rows[label_set]] = now_ms
        self.labels, self.last_seen_ms = tuple(labels), grown

    def align(self, batch: SeriesBatch) -> SeriesBatch:
        """The batch with one row for each of ours, NaN where a series is absent."""
        first_ms = int(batch.timestamps[0]) if batch.n_steps else 0
        rows = self.rows(batch.labels, first_ms)
        values = np.full((self.n_rows, batch.n_steps), np.nan)
        values[rows] = batch.values
        if batch.n_steps:
            present = np.isfinite(values)
            newest = np.where(
                present.any(axis=1), batch.timestamps[batch.n_steps - 1 - present[:, ::-1].argmax(axis=1)], 0
            )
            self.last_seen_ms = np.maximum(self.last_seen_ms, newest)
        return SeriesBatch(batch.query, self.labels, batch.timestamps, values, batch.warnings)
