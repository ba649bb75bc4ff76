"""Slots of live history: which length, and rings that become coarser without losing what is newest."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.engine.forecast.slots import coarser_ring, first_slot, next_slot

DAY = 86400.0


@pytest.mark.parametrize(
    ("step", "furthest", "slot"),
    [
        pytest.param(15.0, DAY, 300.0, id="usual"),
        pytest.param(600.0, DAY, 600.0, id="longer step"),
        pytest.param(60.0, 7 * DAY, 3600.0, id="a week ahead"),
        pytest.param(60.0, 30 * DAY, 14400.0, id="a month ahead"),
        pytest.param(86400.0, 30 * DAY, 86400.0, id="daily samples"),
    ],
)
def test_the_first_slot_holds_a_step_and_reaches_the_horizon(
    step: float, furthest: float, slot: float
) -> None:
    assert first_slot(step, furthest) == slot


def test_slots_become_multiples_until_a_day_would_have_too_few() -> None:
    found = [300.0]
    while (slot := next_slot(found[-1], DAY)) is not None:
        found.append(slot)
    assert found == [300.0, 600.0, 1800.0, 3600.0, 7200.0]


@given(st.lists(st.one_of(st.none(), st.integers(1, 99)), min_size=1, max_size=60), st.sampled_from([2, 3]))
def test_a_coarser_ring_holds_the_last_sample_of_each_slot(values: list[int | None], factor: int) -> None:
    n = 24
    n_coarse = n // factor
    first = 1000
    ring = np.full((1, n), np.nan, dtype=np.float32)
    newest = first + len(values) - 1
    expected = np.full((1, n_coarse), np.nan, dtype=np.float32)
    for slot, value in enumerate(values, first):
        if newest - slot < n and value is not None:
            ring[0, slot % n] = value
            if newest // factor - slot // factor < n_coarse:
                expected[0, slot // factor % n_coarse] = value
    found = coarser_ring(ring, np.array([newest]), factor, n_coarse)
    np.testing.assert_array_equal(found, expected)
