"""Series that spend their day alike are a family, and who leaves it is told."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.behaviour import BehaviourFamilies, days, find_families, leavers, tree
from sidecar.series import FloatArray, TimeArray

STEP_MS = 1_800_000
START_MS = 1_790_000_000_000 // 86_400_000 * 86_400_000


def times(n_days: int) -> TimeArray:
    return np.asarray(START_MS + np.arange(n_days * 48, dtype=np.int64) * STEP_MS)


def fleet(kinds: list[str], n_days: int, seed: int = 1) -> FloatArray:
    """Office hours, evenings, flat, and a job at night; each at a level of its own."""
    rng = np.random.default_rng(seed)
    hour = np.arange(n_days * 48) / 2 % 24
    shapes = {
        "office": 1.0 + 0.8 * ((hour >= 8) & (hour < 18)),
        "evening": 1.0 + 0.6 * np.sin(2 * np.pi * (hour - 14) / 24),
        "flat": np.ones(len(hour)),
        "night": 1.0 + 2.0 * ((hour >= 1) & (hour < 4)),
    }
    levels = rng.uniform(1, 1000, len(kinds))
    noise = 1 + 0.1 * rng.normal(size=(len(kinds), len(hour)))
    return np.stack([level * shapes[kind] for level, kind in zip(levels, kinds, strict=True)]) * noise


@pytest.mark.parametrize("n_kinds", [1, 2, 3, 4])
def test_as_many_families_as_there_are_kinds(n_kinds: int) -> None:
    kinds = [kind for kind in ("office", "evening", "flat", "night")[:n_kinds] for _ in range(12)]
    found = find_families(days(times(2), fleet(kinds, 2)))
    assert found.n_families == n_kinds
    assert found.stability >= 0.8
    for first in range(0, len(kinds), 12):
        assert len(set(found.of_row[first : first + 12].tolist())) == 1


def test_noise_is_one_family() -> None:
    assert find_families(np.random.default_rng(2).normal(0, 0.1, (60, 24))).n_families == 1


def test_few_series_and_unknown_days() -> None:
    course = days(times(1), fleet(["office"] * 3, 1))
    assert find_families(course).n_families == 1
    values = fleet(["office"] * 20, 1)
    values[3] = np.nan
    values[4, :20] = np.nan
    values[5, :2], values[6, :2] = 1.7e308, np.nan
    course = days(times(1), values)
    assert np.isfinite(course[5:7]).all()
    assert np.isnan(course[3]).all()
    assert np.isnan(course[4]).all(), "fourteen hours are not a day"
    assert find_families(course).of_row[3] == -1
    assert find_families(np.full((4, 24), np.nan)).n_families == 0


class TestLeaving:
    def found(self) -> tuple[BehaviourFamilies, FloatArray, list[str]]:
        kinds = ["office"] * 15 + ["night"] * 15
        earlier = days(times(1), fleet(kinds, 1))
        return find_families(earlier), earlier, kinds

    def test_who_behaves_like_another_family_has_left_its_own(self) -> None:
        before, earlier, kinds = self.found()
        kinds[4] = "night"
        (left,) = leavers(before, earlier, days(times(1), fleet(kinds, 1, seed=3)))
        assert left.row == 4
        assert left.family == before.of_row[0]
        assert left.like == before.of_row[20]
        assert left.distance > 3 * left.usual_distance

    def test_a_family_that_changes_as_a_whole_is_left_by_nobody(self) -> None:
        before, earlier, kinds = self.found()
        moved = ["evening" if kind == "office" else kind for kind in kinds]
        assert leavers(before, earlier, days(times(1), fleet(moved, 1, seed=3))) == []

    def test_an_ordinary_day_is_left_by_nobody(self) -> None:
        before, earlier, kinds = self.found()
        assert leavers(before, earlier, days(times(1), fleet(kinds, 1, seed=4))) == []


def test_the_tree_joins_what_is_alike_first() -> None:
    middles = np.zeros((3, 24))
    middles[1, 8:18] = 0.2
    middles[2, 1:4] = 3.0
    found = BehaviourFamilies(np.zeros(3, dtype=np.int64), middles, 1.0)
    (first, near), (everything, far) = tree(found)
    assert first == [0, 1]
    assert everything == [0, 1, 2]
    assert near < far
    assert tree(BehaviourFamilies(np.zeros(3, dtype=np.int64), middles[:1], 1.0)) == []
