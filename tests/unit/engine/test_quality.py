"""What is wrong with data is found, what is right is not, however the columns come."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.engine.quality import DataQuality, Quality
from sidecar.series import FloatArray

N, T = 40, 2000
RNG = np.random.default_rng(2)
FINE = 50 + RNG.normal(0, 1, (N, T)).cumsum(axis=1) * 0.1 + RNG.normal(0, 1, (N, T))


def counted(values: FloatArray, step: float = 300.0) -> DataQuality:
    quality = DataQuality(step)
    quality.resize(len(values))
    quality.observe(values)
    return quality


def assess(values: FloatArray, step: float = 300.0, **options: int) -> Quality:
    return counted(values, step).assess(**options)


def with_gaps() -> FloatArray:
    values = FINE.copy()
    values[:, 100:140] = np.nan
    values[::2, 500:560] = np.nan
    return values


CASES = {
    "gaps": with_gaps(),
    "flat": np.where(np.arange(N)[:, None] < N // 2, 7.0, FINE),
    "quantised": np.round(FINE / 4) * 4,
    "counter": np.abs(RNG.normal(5, 1, (N, T))).cumsum(axis=1) % 9000,
    "interval": np.concatenate([FINE[:, : T - 200], np.repeat(FINE[:, :50], 4, axis=1)], axis=1),
    "slow": np.repeat(FINE[:, : T // 4], 4, axis=1),
    "stale": np.where(np.arange(T) < T - 10, FINE, np.nan),
}


@pytest.mark.parametrize("kind", sorted(CASES))
def test_what_is_wrong_is_found_and_costs(kind: str) -> None:
    found = assess(CASES[kind])
    assert [one.kind for one in found.findings] == [kind]
    assert found.score < 1
    assert found.findings[0].remedy


def test_nothing_is_found_in_good_data() -> None:
    found = assess(FINE)
    assert (found.findings, found.score, found.n_series) == ((), 1.0, N)


def test_gaps_are_counted_to_the_point() -> None:
    found = assess(with_gaps())
    missing = N * 40 + N // 2 * 60
    assert found.gap_ratio == pytest.approx(missing / (N * T))


def test_a_slow_scrape_names_its_interval() -> None:
    (finding,) = assess(CASES["slow"], step=300.0).findings
    assert "about every 1200 s" in finding.words


def test_another_scrape_interval_is_told_with_both() -> None:
    (finding,) = assess(CASES["interval"], step=300.0).findings
    assert "about every 320 s before, every 1110 s now" in finding.words
    back = np.concatenate([CASES["interval"], FINE[:, :400]], axis=1)
    assert assess(back).findings == (), "it is as it was"


def test_history_and_cardinality() -> None:
    assert [one.kind for one in assess(FINE, step=60.0).findings] == ["young"]
    many = assess(FINE, max_series=N + 1)
    assert ([one.kind for one in many.findings], many.series_ratio) == (["cardinality"], N / (N + 1))
    empty = assess(np.full((3, 5), np.nan))
    assert ([one.kind for one in empty.findings], empty.score) == (["empty"], 0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 199), max_size=6), st.sampled_from(sorted(CASES)))
def test_batching_does_not_matter(cuts: list[int], kind: str) -> None:
    values = CASES[kind][:5, T - 200 :]
    parts = DataQuality(300.0)
    parts.resize(5)
    for piece in np.split(values, sorted(set(cuts)), axis=1):
        parts.observe(piece)
    np.testing.assert_allclose(parts.arrays["counts"], counted(values).arrays["counts"], rtol=1e-9)


def test_samples_that_are_no_measurements_count_as_missing() -> None:
    odd = FINE[:4].copy()
    odd[:, 1000:1004] = 1.7e308, -1.7e308, 1e200, -np.inf
    gaps = FINE[:4].copy()
    gaps[:, 1000:1004] = np.nan
    assert assess(odd) == assess(gaps)
