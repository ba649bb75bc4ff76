"""What the default detector keeps whatever it is fed: no look-ahead, no crosstalk, no explosion."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.engine.detect.ensemble import EnsembleDetector
from sidecar.engine.offline import STEP_ROWS, score_series
from sidecar.engine.protocols import Judged
from sidecar.series import FloatArray, LabelSet, SeriesBatch, TimeArray

STEP = 60
START = 1_790_000_000 // STEP * STEP


def times(n: int, first: int = 0) -> TimeArray:
    return ((START + (first + np.arange(n)) * STEP) * 1000).astype(np.int64)


def judge(values: FloatArray, detector: EnsembleDetector | None = None, first: int = 0) -> Judged:
    detector = detector or EnsembleDetector(15.0, STEP)
    detector.resize(len(values))
    detector.calibrator.resize(len(values))
    labels = tuple(LabelSet({"i": str(i)}) for i in range(len(values)))
    return detector.judge(SeriesBatch("q", labels, times(values.shape[1], first), values))


def lively(seed: int, n_rows: int = 3, n_steps: int = 2000) -> FloatArray:
    """Noise on a daily cycle with spikes, a shift and gaps."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_steps)
    values = 50 + 20 * np.sin(2 * np.pi * t / 1440) + rng.standard_t(4, (n_rows, n_steps))
    values[:, rng.integers(100, n_steps, 5)] += 40
    values[:, n_steps // 2 : n_steps // 2 + 90] *= 1.8
    values[:, rng.integers(0, n_steps, 40)] = np.nan
    return values


def same(one: Judged, other: Judged, rtol: float = 1e-9) -> None:
    for name in ("score", "yhat", "lower", "upper"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=rtol, err_msg=name)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(1, 1999), max_size=6, unique=True))
def test_batches_of_any_size_say_the_same(seed: int, cuts: list[int]) -> None:
    values = lively(seed)
    whole = judge(values)
    detector = EnsembleDetector(15.0, STEP)
    edges = [0, *sorted(cuts), 2000]
    parts = [judge(values[:, a:b], detector, a) for a, b in itertools.pairwise(edges)]
    joined = [
        np.concatenate([getattr(p, n) for p in parts], axis=1) for n in ("score", "yhat", "lower", "upper")
    ]
    same(whole, Judged(*joined))


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), cut=st.integers(30, 1990))
def test_what_comes_later_changes_no_score(seed: int, cut: int) -> None:
    values = lively(seed)
    changed = values.copy()
    changed[:, cut:] = 1e6
    before, after = judge(values), judge(changed)
    np.testing.assert_array_equal(before.score[:, :cut], after.score[:, :cut])
    np.testing.assert_array_equal(before.upper[:, : cut + 1], after.upper[:, : cut + 1])


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_rows_neither_see_each_other_nor_mind_their_order(seed: int) -> None:
    values = lively(seed)
    found = judge(values)
    turned = judge(values[::-1].copy())
    np.testing.assert_array_equal(found.score, turned.score[::-1])
    np.testing.assert_array_equal(found.score[:1], judge(values[:1]).score)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000), factor=st.sampled_from([1e-3, 0.5, 7.0, 1e6]))
def test_a_scaled_series_has_a_scaled_band(seed: int, factor: float) -> None:
    values = lively(seed)
    one, other = judge(values), judge(values * factor)
    np.testing.assert_allclose(other.score, one.score, rtol=1e-4)
    np.testing.assert_allclose(other.upper, one.upper * factor, rtol=1e-4, atol=1e-4 * factor)


def test_a_shifted_series_has_a_shifted_band_while_its_spread_sets_the_scale() -> None:
    values = lively(1)
    one, other = judge(values), judge(values + 30.0)
    width = np.nanmean(one.upper - one.lower)
    # The level is a little part of the least scale, and so may tip an alarm: that is not most samples.
    assert np.nanmedian(np.abs(other.lower - one.lower - 30.0)) < 0.05 * width


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 1000))
def test_a_value_is_flagged_exactly_when_it_is_outside_the_band(seed: int) -> None:
    values = lively(seed)
    found = judge(values)
    with np.errstate(invalid="ignore"):
        outside = (values < found.lower) | (values > found.upper)
        flagged = found.score > 1
        edge = np.abs(found.score - 1) < 1e-9
    assert flagged.any()
    assert found.shape is not None
    assert ((outside == flagged) | edge | np.isnan(values) | (found.shape != 0)).all()


def test_an_absent_sample_has_no_score_and_teaches_nothing() -> None:
    values = lively(3)
    gap = np.full((3, 50), np.nan)
    detector = EnsembleDetector(15.0, STEP)
    judge(values, detector)
    state = {name: array.copy() for name, array in detector.state().items()}
    found = judge(gap, detector, 2000)
    assert np.isnan(found.score).all()
    for name, array in detector.state().items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


@pytest.mark.parametrize(
    "values",
    [
        np.full(3000, 5.0),
        np.full(3000, np.nan),
        np.array([5.0]),
        np.full(3000, 1e308),
        np.full(3000, 5e-324),
        np.tile([1e308, -1e308], 1500),
        np.tile([5e-324, 0.0], 1500),
        np.zeros(3000),
    ],
    ids=["constant", "nan", "one point", "1e308", "denormal", "alternating huge", "alternating tiny", "zero"],
)
def test_strange_series_neither_crash_nor_flag_everything(values: FloatArray) -> None:
    found = judge(values[None, :])
    flagged = np.nan_to_num(found.score) > 1
    assert flagged.mean() < 0.01
    assert not np.isinf(found.score).any()


def test_a_saved_detector_continues() -> None:
    values = lively(5)
    detector = EnsembleDetector(15.0, STEP)
    judge(values[:, :1000], detector)
    copy = EnsembleDetector(15.0, STEP).restore({k: v.copy() for k, v in detector.state().items()})
    copy.calibrator.restore({k: v.copy() for k, v in detector.calibrator.state().items()})
    same(judge(values[:, 1000:], detector, 1000), judge(values[:, 1000:], copy, 1000), rtol=1e-12)


def test_the_step_of_a_file_is_known_from_its_first_rows() -> None:
    # Were the step taken from all rows, the hourly end would change the budget of the beginning.
    grid = times(2 * STEP_ROWS)
    later = np.concatenate([grid, grid[-1] + np.arange(1, 3000) * 3600_000])
    values = lively(3)[0]
    short, _ = score_series(grid, values[: len(grid)])
    long, _ = score_series(later, np.resize(values, len(later)))
    np.testing.assert_array_equal(short.upper[0], long.upper[0, : len(grid)])


def test_a_stricter_budget_is_a_wider_band() -> None:
    values = lively(7)[0]
    usual, _ = score_series(times(2000), values)
    strict, _ = score_series(times(2000), values, false_alarms_per_month=1.0)
    early = slice(0, 200)  # Before alarms have taught the thresholds anything.
    assert np.nanmean((strict.upper - strict.yhat)[:, early]) > 1.5 * np.nanmean(
        (usual.upper - usual.yhat)[:, early]
    )


@pytest.mark.parametrize("odd", [1e9, 2.0**64 - 1, 1e35, 1e100, -(2.0**63)])
def test_a_number_that_wrapped_around_makes_no_series_deaf(odd: float) -> None:
    values = 50 + np.random.default_rng(3).normal(0, 1, (1, 10 * 1440))
    values[0, 5 * 1440] = odd
    incident = slice(9 * 1440, 9 * 1440 + 30)
    values[0, incident] *= 10
    found = judge(values, EnsembleDetector(8.0, STEP))
    assert (found.score[0, incident] > 1).mean() > 0.8
    later = np.r_[5 * 1440 + 1 : 9 * 1440]
    assert np.isfinite(found.upper[0, later]).all()


@pytest.mark.parametrize("hours", [(5, 7), (5, 9), (2, 6), (20, 23)])
def test_hours_without_samples_in_a_first_day_are_no_drift_when_they_come_again(
    hours: tuple[int, int],
) -> None:
    values = 1000 + np.random.default_rng(5).normal(0, 5, (5, 3 * 1440))
    values[:, 60 * hours[0] : 60 * hours[1]] = np.nan
    assert not (judge(values).shape != 0).any()
