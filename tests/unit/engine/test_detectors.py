"""What every detector of the registry keeps, and what each of them is there to see."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from sidecar.config.model import QueryConfig
from sidecar.engine.detect.esd import SIGNIFICANCE, critical_values
from sidecar.engine.model import QueryModel
from sidecar.engine.registry import DETECTORS
from sidecar.series import FloatArray, LabelSet, SeriesBatch

STEP = 60
START = 1_790_000_000 // STEP * STEP
N = 2400
QUERY = QueryConfig(name="q", expr="x", step=STEP, forecast_horizons=(), council=("matrix_profile", "kmeans"))
SINGLE = ("smoothing", "hampel", "esd", "quantile", "cusum", "bocpd", "seasonal", "ensemble")
OF_POINTS = ("smoothing", "hampel", "esd", "quantile", "seasonal", "ensemble")
OF_SHIFTS = ("cusum", "bocpd", "ensemble")


@dataclass(frozen=True)
class Found:
    """What a model said of a whole series."""

    score: FloatArray
    lower: FloatArray
    upper: FloatArray


def judge(name: str, values: FloatArray, edges: tuple[int, ...] = ()) -> Found:
    """The scores of `values` (rows, columns), given to a fresh model in parts cut at `edges`."""
    model = QueryModel(QUERY, detector=name)
    labels = tuple(LabelSet({"i": str(i)}) for i in range(len(values)))
    times = ((START + np.arange(values.shape[1]) * STEP) * 1000).astype(np.int64)
    parts = []
    for a, b in itertools.pairwise((0, *edges, values.shape[1])):
        _, band, score = model.score(SeriesBatch("q", labels, times[a:b], values[:, a:b]))
        parts.append((score.anomaly_score, band.lower, band.upper))
    return Found(*(np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)))


def lively(seed: int, n_rows: int = 3) -> FloatArray:
    rng = np.random.default_rng(seed)
    values = 50 + 5 * np.sin(np.arange(N) / 229) + rng.standard_t(5, (n_rows, N))
    values[:, rng.integers(100, N, 4)] += 40
    values[:, rng.integers(0, N, 40)] = np.nan
    return values


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_it_keeps_what_every_detector_keeps(name: str) -> None:
    values = lively(1)
    whole = judge(name, values)
    parts = judge(name, values, (1, 37, 61, 1500, 1501))
    for array in ("score", "lower", "upper"):
        np.testing.assert_allclose(getattr(parts, array), getattr(whole, array), rtol=1e-9, err_msg=array)
    later = values.copy()
    later[:, 1800:] = 1e5
    np.testing.assert_array_equal(judge(name, later).score[:, :1800], whole.score[:, :1800])
    assert np.isnan(whole.score[np.isnan(values)]).all()
    assert not np.isinf(whole.score).any()


@pytest.mark.parametrize("name", SINGLE)
def test_a_scaled_series_has_a_scaled_band(name: str) -> None:
    values = lively(2)
    one, other = judge(name, values), judge(name, values * 1000.0)
    np.testing.assert_allclose(other.upper, one.upper * 1000.0, rtol=1e-4)


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize(
    "values",
    [
        np.full(N, 5.0),
        np.full(N, np.nan),
        np.array([5.0]),
        np.full(N, 1e308),
        np.full(N, 5e-324),
        np.zeros(N),
    ],
    ids=["constant", "nan", "one point", "1e308", "denormal", "zero"],
)
def test_strange_series_are_not_flagged(name: str, values: FloatArray) -> None:
    assert not (np.nan_to_num(judge(name, values[None, :]).score) > 1).any()


@pytest.mark.parametrize("name", SINGLE)
def test_what_is_learnt_of_a_constant_series_has_a_width(name: str) -> None:
    """A rule of no width fires at the first change in the last digit."""
    model = QueryModel(QUERY, detector=name)
    times = ((START + np.arange(N) * STEP) * 1000).astype(np.int64)
    model.score(SeriesBatch("q", (LabelSet({"i": "0"}),), times, np.full((1, N), 42.0)))
    band = model.learned_band()
    assert (band.upper - band.lower).min() > 0.1


def test_a_series_of_absurd_size_keeps_no_other_from_its_seasons() -> None:
    model = QueryModel(QUERY.model_copy(update={"step": 3600.0}), detector="seasonal")
    values = np.random.default_rng(9).normal(100, 5, (2, 24 * 20)) * np.array([[1.0], [1e98]])
    times = (START // 3600 + np.arange(values.shape[1])) * 3_600_000
    model.score(SeriesBatch("q", (LabelSet({"i": "0"}), LabelSet({"i": "1"})), times, values))
    assert np.isfinite(model.learned_band().upper[0]).all()


@pytest.mark.parametrize("name", OF_POINTS)
def test_a_spike_is_flagged(name: str) -> None:
    values = np.random.default_rng(3).normal(100, 2, (1, N))
    values[0, 2000] = 160.0
    score = judge(name, values).score[0]
    assert score[2000] > 1
    assert (score[:2000] > 1).sum() <= 3


@pytest.mark.parametrize("name", OF_SHIFTS)
def test_a_small_shift_is_flagged_soon(name: str) -> None:
    values = np.random.default_rng(4).normal(100, 2, (1, N))
    values[0, 2000:2060] += 16.0
    score = judge(name, values).score[0]
    assert (score[2000:2015] > 1).any()
    assert (score[500:2000] > 1).sum() <= 3


@pytest.mark.parametrize("name", ["cusum", "bocpd"])
def test_a_spike_is_told_apart_from_a_shift(name: str) -> None:
    values = np.random.default_rng(5).normal(100, 2, (1, N))
    values[0, 2000] += 30.0
    assert not (judge(name, values).score[0, 2000:2030] > 1).any()


@pytest.mark.parametrize("name", ["cusum", "bocpd", "matrix_profile"])
def test_what_judges_a_course_flags_no_value_that_its_statistic_leaves_alone(name: str) -> None:
    """A band of its thresholds would: they are in other units than the values."""
    values = np.random.default_rng(8).standard_t(3, (2, N))
    model = QueryModel(QUERY, detector=name)
    times = ((START + np.arange(N) * STEP) * 1000).astype(np.int64)
    labels = (LabelSet({"i": "0"}), LabelSet({"i": "1"}))
    _, _, score = model.score(SeriesBatch("q", labels, times, values))
    assert (score.shape[score.anomaly_score > 1] != 0).all()


def test_outliers_do_not_hide_each_other_from_esd() -> None:
    values = np.random.default_rng(6).normal(100, 2, (1, N))
    values[0, 2000:2008] += 60.0
    assert (judge("esd", values).score[0, 2000:2008] > 1).all()


@pytest.mark.parametrize("n", [20, 40, 61])
def test_the_deviates_of_esd_are_rosners(n: int) -> None:
    """His equation, whose deviations divide by n - 1."""
    tail = stats.t.ppf(1.0 - SIGNIFICANCE / (2.0 * n), n - 2)
    his = (n - 1) * tail / np.sqrt((n - 2 + tail * tail) * n)
    sample = np.random.default_rng(n).normal(0, 1, n)
    assert critical_values()[n] * np.std(sample) == pytest.approx(his * np.std(sample, ddof=1))


def test_the_quantiles_know_the_hour() -> None:
    hours = (START + np.arange(12 * 1440) * STEP) // 3600 % 24
    rng = np.random.default_rng(7)
    values = np.where(hours == 3, 500.0, 100.0)[None, :] + rng.normal(0, 3, (1, len(hours)))
    at_noon = int(np.flatnonzero(hours[11 * 1440 :] == 12)[0]) + 11 * 1440
    values[0, at_noon] = 500.0
    score = judge("quantile", values).score[0]
    assert score[at_noon] > 1
    assert (score[10 * 1440 :][hours[10 * 1440 :] == 3] > 1).mean() < 0.01
