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


HOUR_MS = 3_600_000


def crowded(n_gone: int, n_alive: int, at_ms: int = DAY_MS) -> tuple[SeriesIndex, np.ndarray]:
    """An index of series that were seen two hours ago and now, and what they are worth."""
    index = SeriesIndex()
    gone = tuple(LabelSet({"pod": str(n)}) for n in range(n_gone))
    alive = tuple(LabelSet({"pod": f"new-{n}"}) for n in range(n_alive))
    index.align(seen(at_ms - 2 * HOUR_MS, *gone))
    index.align(seen(at_ms, *alive))
    return index, np.arange(n_gone + n_alive) % 7


def test_a_crowd_of_the_gone_gives_up_its_rows_those_worth_least_first() -> None:
    index, worth = crowded(1500, 100)
    freed = index.make_room(DAY_MS, worth)
    assert index.n_series == 750 == 1600 - len(freed)
    assert (index.last_seen_ms[-100:] == DAY_MS).all(), "none that is there"
    kept = np.flatnonzero(index.last_seen_ms[:1500])
    assert worth[freed].max() <= worth[kept].min()
    assert len(index.make_room(DAY_MS, worth)) == 0


def test_no_crowd_is_made_room_of() -> None:
    index, worth = crowded(800, 100)
    assert len(index.make_room(DAY_MS, worth)) == 0, "few"
    index, worth = crowded(750, 760)
    assert len(index.make_room(DAY_MS, worth)) == 0, "not twice those that are there"


def test_those_of_the_day_keep_their_rows_in_the_night() -> None:
    index, worth = crowded(1, 1500)
    for hour in range(14):
        assert len(index.make_room(DAY_MS + hour * HOUR_MS, worth)) == 0
        index.align(seen(DAY_MS + hour * HOUR_MS, LabelSet({"job": "of-the-night"})))
        worth = np.ones(index.n_rows)
    assert index.n_series == 1502
