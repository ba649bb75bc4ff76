"""Fitting a model to a long past with little memory: a piece of it at a time, with the same result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from sidecar.series import RowArray, SeriesBatch

if TYPE_CHECKING:  # numba is imported in the worker that learns.
    from sidecar.engine.model import QueryModel

PIECE_POINTS = 500_000
"""So many are learnt from at a time: what is said of a point takes ten times the room of the point."""


def fit(model: QueryModel, past: SeriesBatch, *, points: int = PIECE_POINTS) -> None:
    """Teach a model what the past would teach it as a whole."""
    for piece, _, _ in pieces(model, past, points):
        model.fit(piece)


def pieces(model: QueryModel, past: SeriesBatch, points: int) -> Iterator[tuple[SeriesBatch, RowArray, int]]:
    """The past in pieces of so many points: each with the rows and the first column of `past` that it is.

    A series is in them from its first sample to its last, so that nobody makes room for it before, or
    takes it for alive who forgot it since. The model is told until when: a long pause is no end.
    """
    n_columns = max(points // max(past.n_series, 1), 1)
    begins, ends = _first_and_last_columns(past)
    for first in range(0, past.n_steps, n_columns):
        rows = np.flatnonzero((ends >= first) & (begins < first + n_columns))
        labels = past.labels if len(rows) == past.n_series else tuple(past.labels[row] for row in rows)
        columns = slice(first, first + n_columns)
        times, values = past.timestamps[columns], past.values[rows, columns]
        model.index.expect(labels, past.timestamps[ends[rows]], now_ms=int(times[0]))
        yield SeriesBatch(past.query, labels, times, values, past.warnings), rows, first


def _first_and_last_columns(past: SeriesBatch) -> tuple[RowArray, RowArray]:
    """The columns of each row's first and last samples; the last is -1 where there is none."""
    begins, ends = np.zeros(past.n_series, dtype=np.int64), np.full(past.n_series, -1, dtype=np.int64)
    for row, values in enumerate(past.values):  # Row by row: it may be large.
        present = np.flatnonzero(np.isfinite(values))
        if len(present):
            begins[row], ends[row] = present[0], present[-1]
    return begins, ends
