"""What is remembered of series: rarity is right on average, shapes compare, witnesses are independent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sidecar.engine.explain import (
    LEAD_STEPS,
    REMEMBERED_STEPS,
    SHAPE_STEPS,
    Chronicle,
    deviations,
    shape_distance,
    shape_of,
    tails_of,
    witnesses,
)
from sidecar.series import FloatArray

DAY = 86400.0


def told(scores: FloatArray, step: float = 60.0) -> Chronicle:
    chronicle = Chronicle()
    chronicle.resize(len(scores))
    for column in scores.T:
        chronicle.observe(column, column, column, step)
    return chronicle


def test_a_rarity_is_what_the_future_shows() -> None:
    rng = np.random.default_rng(5)
    scores = rng.exponential(0.12, (50, 5 * 1440))
    chronicle = told(scores)
    found = chronicle.once_in_seconds(0, 1.3)
    assert found is not None
    seconds, rarer = found
    assert not rarer
    future = np.random.default_rng(6).exponential(0.12, (50, 60 * 1440)) > 1.3
    true_seconds = 50 * 60 * DAY / future.sum()
    assert true_seconds / 2 < seconds < true_seconds * 2


def test_the_past_tells_as_much_as_having_watched_it() -> None:
    scores = np.random.default_rng(8).exponential(0.2, (5, 4000))
    scores[1, 100:300] = np.nan
    confidence = np.ones_like(scores)
    watched = told(scores).arrays["tail"]
    np.testing.assert_allclose(tails_of(scores, confidence, 60.0), watched)
    confidence[:, :1000] = 0.9
    young = tails_of(scores, confidence, 60.0)
    assert young[0, 4] == 3000 * 60.0, "what is not yet trusted does not count"


def test_a_wild_series_is_told_from_a_calm_one_of_the_same_query() -> None:
    rng = np.random.default_rng(7)
    scores = rng.exponential(0.08, (20, 3 * 1440))
    scores[0] *= 2.0
    chronicle = told(scores)
    wild, calm = chronicle.once_in_seconds(0, 1.2), chronicle.once_in_seconds(1, 1.2)
    assert wild is not None
    assert calm is not None
    assert wild[0] < calm[0] / 3


def test_neighbouring_excesses_are_one_story() -> None:
    scores = np.zeros((1, 3000))
    scores[0, 100:110] = 0.9
    scores[0, 112] = 0.9
    scores[0, 2000] = 0.9
    assert told(scores).arrays["tail"][0, 0] == 2


def test_rarity_is_bounded_by_what_was_seen() -> None:
    scores = np.random.default_rng(8).exponential(0.12, (4, 2 * 1440))
    found = told(scores).once_in_seconds(0, 1e9)
    assert found == (10 * 4 * 2 * DAY, True)
    assert told(scores[:1, :600]).once_in_seconds(0, 2.0) is None, "ten hours say nothing"


@pytest.mark.parametrize("n_steps", [1, REMEMBERED_STEPS - 1, REMEMBERED_STEPS, 3 * REMEMBERED_STEPS + 5])
def test_the_newest_come_back_in_order(n_steps: int) -> None:
    recent, values = told(np.arange(n_steps, dtype=np.float64)[None, :]).recent(0)
    np.testing.assert_array_equal(values, np.arange(max(n_steps - REMEMBERED_STEPS, 0), n_steps))
    np.testing.assert_array_equal(recent, values)


def test_a_deviation_is_in_half_widths_of_its_side() -> None:
    nan = np.nan
    found = deviations(
        np.array([12.0, 6.0, 10.0, 12.0, nan]), np.full(5, 10.0), np.array([8.0, 8.0, 8.0, nan, 8.0]),
        np.array([11.0, 11.0, 11.0, 11.0, 11.0]),
    )  # fmt: skip
    np.testing.assert_array_equal(found, [2.0, -2.0, 0.0, 2.0, nan])


def test_a_centre_on_the_edge_does_not_make_a_deviation_endless() -> None:
    lower, upper = np.full(4, 8.0), np.full(4, 12.0)
    found = deviations(np.array([12.0, 14.0, 8.0, 12.1]), np.full(4, 12.0), lower, upper)
    assert found[:3].tolist() == pytest.approx([1.0, 26.0, -1.0])
    assert 1.0 < found[3] < 5.0
    one_sided = deviations(np.array([13.0]), np.array([12.0]), np.array([np.nan]), np.array([12.0]))
    assert 1.0 < one_sided[0] < 10.0


def test_a_shape_begins_before_its_event_and_has_a_bounded_length() -> None:
    recent = np.zeros(REMEMBERED_STEPS)
    recent[40:] = 5.0
    age = REMEMBERED_STEPS - 1 - 40
    shape = shape_of(recent, age)
    assert shape[:LEAD_STEPS].tolist() == [0.0, 0.0]
    assert (shape[LEAD_STEPS:] > 1).all()
    assert len(shape) == min(LEAD_STEPS + SHAPE_STEPS, LEAD_STEPS + age + 1)


@given(hnp.arrays(np.float64, st.integers(1, 26), elements=st.floats(-20, 20)))
def test_a_shape_is_like_itself_and_unlike_its_opposite(shape: FloatArray) -> None:
    assert shape_distance(shape, shape) == 0.0
    if np.abs(shape).max() > 1e-100:
        assert shape_distance(shape, -shape) == pytest.approx(1.0)


def test_witnesses_say_what_they_see() -> None:
    rng = np.random.default_rng(1)
    values = np.append(rng.normal(100, 1, 60), 130.0)
    calm = np.append(rng.normal(0, 0.1, 60), 3.0)
    alone = witnesses(calm, values, rng.normal(100, 1, 20))
    assert {name for name, answer in alone.items() if answer > 1} >= {"point", "own_past", "siblings"}
    together = witnesses(calm, values, rng.normal(130, 1, 20))
    assert together["siblings"] < 1, "all of them did it"
    assert "siblings" not in witnesses(calm, values, np.zeros(2))


def test_a_young_series_has_no_past_at_zero() -> None:
    rng = np.random.default_rng(3)
    chronicle = told(rng.normal(100, 1, (6, 40)))
    chronicle.reset(np.array([2]))
    chronicle.resize(7)
    for _ in range(12):
        column = rng.normal(100, 1, 7)
        chronicle.observe(column, np.zeros(7), np.zeros(7), 60.0)
    for row in (2, 6):
        recent, values = chronicle.recent(row)
        found = witnesses(recent, values, rng.normal(100, 1, 6))
        assert found["own_past"] < 1, "it has been at 100 ever since it is there"
