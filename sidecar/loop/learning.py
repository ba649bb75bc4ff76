"""Learning from a long past with little memory: a piece of it at a time, a few queries at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sidecar.series import FloatArray, RowArray, SeriesBatch

if TYPE_CHECKING:  # numba is imported in the worker that learns.
    from sidecar.engine.model import QueryModel

LEARNERS = 2
"""Queries that learn at once: as many as there are threads for it. The others' past is not read yet."""

PIECE_POINTS = 500_000
"""So many are learnt from at a time: what is said of a point takes ten times the room of the point."""


def learn(model: QueryModel, parts: Sequence[SeriesBatch], *, points: int = PIECE_POINTS) -> FloatArray:
    """Teach a model its past, the oldest part first; how rare scores were in the last part, (N, 5).

    What is learnt is what the parts would teach as a whole. The rows are those of the last part, as
    `engine.explain.tails_of` gives them.
    """
    for part in parts[:-1]:
        _announce(model, part)
        for piece, _, _ in pieces(part, points):
            model.fit(piece)
    _announce(model, parts[-1])
    return _tails(parts[-1], _trusted_scores(model, parts[-1], points), points)


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


def _last_columns(past: SeriesBatch) -> RowArray:
    """The column of each row's last sample; -1 where there is none."""
    last = np.full(past.n_series, -1, dtype=np.int64)
    for row, values in enumerate(past.values):  # Row by row: it may be large.
        present = np.flatnonzero(np.isfinite(values))
        if len(present):
            last[row] = present[-1]
    return last


def _announce(model: QueryModel, past: SeriesBatch) -> None:
    """Let the model know who is in the past, and until when: a long pause in it is no end."""
    if not past.n_steps:
        return
    rows = model.index.rows(past.labels, int(past.timestamps[0]))
    last = _last_columns(past)
    until = np.where(last >= 0, past.timestamps[last], 0)
    seen = model.index.last_seen_ms
    seen[rows] = np.maximum(seen[rows], until)


def _trusted_scores(model: QueryModel, past: SeriesBatch, points: int) -> NDArray[np.float32]:
    """Scores of full confidence, (N, T) of the past's rows; in half the room, which is precise enough."""
    trusted = np.full(past.values.shape, np.nan, dtype=np.float32)
    for piece, rows, first in pieces(past, points):
        judged, _, score = model.score(piece)
        said = np.where(score.confidence >= 1.0, score.anomaly_score, np.nan)
        row_of = {labels: row for row, labels in enumerate(judged.labels)}
        for row, labels in zip(rows.tolist(), piece.labels, strict=True):
            if labels in row_of:  # One that ended more than a day before the piece does is forgotten.
                trusted[row, first : first + piece.n_steps] = said[row_of[labels]]
    return trusted


def _tails(past: SeriesBatch, trusted: NDArray[np.float32], points: int) -> FloatArray:
    from sidecar.engine.explain import tails_of

    if past.n_steps < 2 or not past.n_series:
        return np.zeros((past.n_series, 5))
    step_seconds = float(past.timestamps[-1] - past.timestamps[-2]) / 1000
    n_rows = max(points // past.n_steps, 1)
    blocks = (trusted[row : row + n_rows].astype(np.float64) for row in range(0, len(trusted), n_rows))
    return np.concatenate([tails_of(block, np.ones_like(block), step_seconds) for block in blocks])
