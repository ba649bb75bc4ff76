"""A series that stops is missed; one whose place is taken, or that was hardly known, is not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.engine.absence import KNOWN_SAMPLES
from sidecar.engine.index import RETIRE_STEPS
from sidecar.engine.model import QueryModel
from sidecar.series import LabelSet, SeriesBatch

STEP = 60
START_MS = 1_790_000_040_000
A = LabelSet({"job": "api", "pod": "api-1"})
B = LabelSet({"job": "api", "pod": "api-2"})
DB = LabelSet({"job": "db"})


@dataclass
class Steps:
    """A model that is fed the named series, step by step."""

    model: QueryModel
    at: int = 0

    def feed(self, *labels: LabelSet, steps: int = 1) -> set[LabelSet]:
        """Which series are missed after so many steps with these series only."""
        for _ in range(steps):
            times = np.array([START_MS + self.at * round(self.model.query.step) * 1000], dtype=np.int64)
            self.at += 1
            evaluation = self.model.update(SeriesBatch("q", labels, times, np.full((len(labels), 1), 5.0)))
        assert evaluation is not None
        if evaluation.absent is None:
            return set()
        return {evaluation.labels[row] for row in np.flatnonzero(evaluation.absent)}


def steps(absence: str = "family", step: float = STEP) -> Steps:
    return Steps(QueryModel(QueryConfig(name="q", expr="q", step=step, absence=absence)))


def test_a_series_that_stops_is_missed_at_its_second_missing_sample_until_it_is_back() -> None:
    feed = steps().feed
    assert feed(A, DB, steps=KNOWN_SAMPLES) == set()
    assert feed(A) == set()
    assert feed(A) == {DB}
    assert feed(A, DB) == set()


def test_a_pod_that_is_replaced_is_not_missed_and_the_last_one_is() -> None:
    feed = steps().feed
    feed(A, DB, steps=KNOWN_SAMPLES)
    assert feed(B, DB, steps=KNOWN_SAMPLES) == set()
    assert feed(DB, steps=2) == {A, B}


@pytest.mark.parametrize(("absence", "missed"), [("series", {A}), ("family", set()), ("off", set())])
def test_whose_absence_counts_is_the_querys_choice(absence: str, missed: set[LabelSet]) -> None:
    feed = steps(absence).feed
    feed(A, B, steps=KNOWN_SAMPLES)
    assert feed(B, steps=3) == missed


def test_a_series_that_was_hardly_known_is_not_missed() -> None:
    feed = steps().feed
    feed(A, DB, steps=KNOWN_SAMPLES - 1)
    assert feed(A, steps=5) == set()


def test_after_a_day_it_is_forgotten() -> None:
    feed = steps().feed
    feed(A, DB, steps=KNOWN_SAMPLES)
    assert feed(A, steps=24 * 60) == {DB}
    assert feed(A, steps=2 * 60) == set()


@pytest.mark.parametrize("step", [12 * 3600, 86400, 7 * 86400])
def test_at_long_steps_a_day_is_too_short_to_miss_anybody_in(step: float) -> None:
    """Backups of a night: a row given up after a day would be gone before its second missing sample."""
    life = steps(step=step)
    life.feed(A, DB, steps=KNOWN_SAMPLES)
    assert life.feed(A, steps=2) == {DB}
    assert life.feed(A, steps=RETIRE_STEPS - 2) == {DB}
    assert life.feed(A) == set()


def test_at_long_steps_a_series_that_lacks_some_samples_is_known_still() -> None:
    life = steps(step=7 * 86400)
    life.feed(A, DB, steps=KNOWN_SAMPLES)
    life.feed(A, steps=3)
    life.feed(A, DB)
    assert life.model.counts.retired_rows == 0
    assert life.model.seen_points[1] == KNOWN_SAMPLES + 1
