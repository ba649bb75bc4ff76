"""Rows of an index: what was free before it was saved is free after it was restored."""

from __future__ import annotations

import numpy as np

from sidecar.engine.families import Families
from sidecar.engine.index import SeriesIndex
from sidecar.series import LabelSet, SeriesBatch

DAY_MS = 86_400_000
API, DB, WHOLE = LabelSet({"job": "api"}), LabelSet({"job": "db"}), LabelSet()


def seen(at_ms: int, *labels: LabelSet) -> SeriesBatch:
    return SeriesBatch("q", labels, np.array([at_ms], dtype=np.int64), np.ones((len(labels), 1)))


def test_a_row_that_was_given_up_belongs_to_no_family_after_a_restart_either() -> None:
    index, restored, families = SeriesIndex(), SeriesIndex(), Families()
    index.align(seen(DAY_MS, API, DB, WHOLE))
    index.align(seen(2 * DAY_MS + 1, DB, WHOLE))
    assert index.retire(2 * DAY_MS + 2).tolist() == [0]
    read = tuple(LabelSet.of_pairs(label_set.pairs) for label_set in index.labels)
    restored.restore(read, index.last_seen_ms.copy())
    families.follow(restored.labels)
    assert families.in_use.tolist() == [False, True, True], "a series may have no labels, and be one"
    assert restored.n_series == index.n_series == 2
    assert restored.rows((API,), 3 * DAY_MS).tolist() == [0]
