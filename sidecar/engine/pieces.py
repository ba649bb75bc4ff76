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
    announce(model, past)
    for piece, _, _ in pieces(past, points):
        model.fit(piece)


def pieces(past: SeriesBatch, points: int) -> Iterator[tuple[SeriesBatch, RowArray, int]]:
    """The past in pieces of so many points: each with the rows and the first column of `past` that it is.

    A series is in them up to its last sample, so that nobody takes it for alive who forgot it since.
    """
    n_columns = max(points // max(past.n_series, 1), 1)
    last = _last_columns(past)
    for first in range(0, past.n_steps, n_columns):
        rows = np.flatnonzero(last >= first)
        labels = past.labels if len(rows) == past.n_series else tuple(past.labels[row] for row in rows)
        columns = slice(first, first + n_columns)
        values = past.values[rows, columns]
        yield SeriesBatch(past.query, labels, past.timestamps[columns], values, past.warnings), rows, first


def announce(model: QueryModel, past: SeriesBatch) -> None:
    """Let the model know who is in the past, and until when: a long pause in it is no end."""
    if not past.n_steps:
        return
    rows = model.index.rows(past.labels, int(past.timestamps[0]))
    last = _last_columns(past)
    until = np.where(last >= 0, past.timestamps[last], 0)
    seen = model.index.last_seen_ms
    seen[rows] = np.maximum(seen[rows], until)


def _last_columns(past: SeriesBatch) -> RowArray:
    """The column of each row's last sample; -1 where there is none."""
    last = np.full(past.n_series, -1, dtype=np.int64)
    for row, values in enumerate(past.values):  # Row by row: it may be large.
        present = np.flatnonzero(np.isfinite(values))
        if len(present):
            last[row] = present[-1]
    return last
