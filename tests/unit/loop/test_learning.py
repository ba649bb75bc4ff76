"""A long past teaches the same in pieces, and takes little more room than it is."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.engine.explain import tails_of
from sidecar.engine.model import QueryModel
from sidecar.engine.pieces import pieces
from sidecar.loop.learning import learn
from sidecar.series import LabelSet, SeriesBatch

QUERY = QueryConfig(name="load", expr="load", step="5m")  # type: ignore[arg-type]
STEP_MS = 300_000
BEGIN_MS = 1_750_000_000_000 // STEP_MS * STEP_MS


def past(n_series: int, n_steps: int) -> SeriesBatch:
    """Days with noise; one series begins late, one ends early, one pauses, one never was; once all pause."""
    noise = np.random.default_rng(3).normal(size=(n_series, n_steps))
    course = 10 + 3 * np.sin(2 * np.pi * np.arange(n_steps) / 288)
    values = course + noise
    values[0, : n_steps // 2] = np.nan
    values[1, n_steps // 3 :] = np.nan
    values[2, n_steps // 4 : n_steps // 4 + 330] = np.nan
    values[:, n_steps // 2 + 100 : n_steps // 2 + 500] = np.nan
    values[3] = np.nan
    times = BEGIN_MS + STEP_MS * np.arange(n_steps, dtype=np.int64)
    return SeriesBatch("load", tuple(LabelSet({"i": str(i)}) for i in range(n_series)), times, values)


def test_pieces_are_the_whole_past_and_no_series_is_in_them_after_its_last_sample() -> None:
    whole = past(6, 700)
    again, n_pieces = np.full(whole.values.shape, np.nan), 0
    for piece, rows, first in pieces(QueryModel(QUERY), whole, 600):
        assert piece.values.size <= 600
        assert all(np.isfinite(whole.values[row, first:]).any() for row in rows)
        n_pieces += 1
        assert piece.labels == tuple(whole.labels[row] for row in rows)
        assert piece.timestamps[0] == whole.timestamps[first]
        again[rows, first : first + piece.n_steps] = piece.values
    np.testing.assert_array_equal(again, whole.values)
    assert n_pieces == 7


@pytest.mark.parametrize("points", [3_000, 20_000])
def test_a_past_in_pieces_teaches_what_it_teaches_at_once(points: int) -> None:
    whole = past(8, 3_000)
    at_once, in_pieces = QueryModel(QUERY), QueryModel(QUERY)
    judged, _, score = at_once.score(whole)
    wanted = dict(zip(judged.labels, tails_of(score.anomaly_score, score.confidence, 300.0), strict=True))
    tails = learn(in_pieces, [whole], points=points)
    for row in (0, 2, *range(4, 8)):
        np.testing.assert_allclose(tails[row], wanted[whole.labels[row]], rtol=1e-5)
    assert (tails[4:, 4] > 0).all(), "followed at full confidence"

    last = whole.timestamps[-1] + STEP_MS * np.arange(1, 4)
    values = np.full((8, 3), 11.0)
    values[4] = 40.0
    live = [row for row in range(8) if row not in (1, 3)]
    batch = SeriesBatch("load", tuple(whole.labels[row] for row in live), last, values[live])
    one, other = at_once.update(batch), in_pieces.update(batch)
    assert one is not None
    assert other is not None
    theirs = [one.labels.index(labels) for labels in batch.labels]
    ours = [other.labels.index(labels) for labels in batch.labels]
    for name in ("expected", "lower", "upper", "anomaly_score", "confidence"):
        np.testing.assert_allclose(getattr(other, name)[ours], getattr(one, name)[theirs], rtol=1e-6)


def test_learning_takes_little_more_room_than_the_past_itself() -> None:
    def room(n_steps: int) -> tuple[int, int]:
        whole = past(50, n_steps)
        tracemalloc.start()
        try:
            learn(QueryModel(QUERY), [whole], points=20_000)
            return tracemalloc.get_traced_memory()[1], whole.values.nbytes
        finally:
            tracemalloc.stop()

    (less, small), (more, large) = room(3_000), room(9_000)
    assert more - less < 1.5 * (large - small)


def test_room_is_made_for_series_that_come_and_go_when_they_come() -> None:
    n_series, lives, n_steps = 60, 12, 60 * 12
    values = np.full((n_series, n_steps), np.nan)
    for row in range(n_series):  # One after another, each for an hour.
        values[row, row * lives : (row + 1) * lives] = 10.0 + row % 3
    times = BEGIN_MS + STEP_MS * np.arange(n_steps, dtype=np.int64)
    model = QueryModel(QUERY)
    learn(
        model,
        [SeriesBatch("load", tuple(LabelSet({"pod": str(i)}) for i in range(n_series)), times, values)],
        points=n_series * lives,
    )
    assert 24 <= model.index.n_rows <= 28, "those of a day, and not those to come"
