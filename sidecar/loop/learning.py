"""Learning from a long past with little memory: a piece of it at a time, a few queries at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sidecar.engine.pieces import PIECE_POINTS, fit, pieces
from sidecar.series import FloatArray, SeriesBatch

if TYPE_CHECKING:  # numba is imported in the worker that learns.
    from sidecar.engine.model import QueryModel

LEARNERS = 2
"""Queries that learn at once: as many as there are threads for it. The others' past is not read yet."""


def learn(model: QueryModel, parts: Sequence[SeriesBatch], *, points: int = PIECE_POINTS) -> FloatArray:
    """Teach a model its past, the oldest part first; how rare scores were in the last part, (N, 5).

    What is learnt is what the parts would teach as a whole. The rows are those of the last part, as
    `engine.explain.tails_of` gives them.
    """
    for part in parts[:-1]:
        fit(model, part, points=points)
    return _tails(parts[-1], _trusted_scores(model, parts[-1], points), points)


def _trusted_scores(model: QueryModel, past: SeriesBatch, points: int) -> NDArray[np.float32]:
    """Scores of full confidence, (N, T) of the past's rows; in half the room, which is precise enough."""
    trusted = np.full(past.values.shape, np.nan, dtype=np.float32)
    for piece, rows, first in pieces(model, past, points):
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
