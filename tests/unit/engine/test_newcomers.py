"""A new series without a family is judged within its first hour, by what its query's series share."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.config.model import QueryConfig
from sidecar.engine import snapshot
from sidecar.engine.model import QueryModel
from sidecar.engine.newcomers import BY_ITSELF, BY_POOL, UNTAUGHT
from sidecar.series import Expectation, FloatArray, LabelSet, Score, SeriesBatch

STEP = 300
DAY = 288
BORN = 3 * DAY + 60
START = 1_790_000_000 // 86400 * 86400


def query(step: int = STEP) -> QueryConfig:
    return QueryConfig(name="q", expr="x", step=step, forecast_horizons=())


def batch(values: FloatArray, step: int = STEP, first: int = 0) -> SeriesBatch:
    times = (START + np.arange(first, first + values.shape[1]) * step) * 1000
    labels = tuple(LabelSet({"job": str(i)}) for i in range(len(values)))
    return SeriesBatch("q", labels, times.astype(np.int64), values)


def services(
    levels: FloatArray,
    *,
    step: int = STEP,
    days: int = 4,
    cycle: float = 0.0,
    phases: FloatArray | float = 0.0,
    noise: FloatArray | float = 0.05,
    seed: int = 0,
) -> FloatArray:
    """Services of these levels, each with a day of its own phase, by parts of the level."""
    rng = np.random.default_rng(seed)
    n, t = len(levels), np.arange(days * 86400 // step) * step / 86400
    day = 1 + cycle * np.sin(2 * np.pi * (t + np.broadcast_to(phases, n)[:, None]))
    return np.asarray(
        levels[:, None] * day * (1 + np.broadcast_to(noise, n)[:, None] * rng.normal(size=(n, len(t))))
    )


def unborn(values: FloatArray, rows: slice, first: int) -> FloatArray:
    found = values.copy()
    found[rows, :first] = np.nan
    return found


def judged(values: FloatArray, step: int = STEP) -> tuple[QueryModel, Expectation, Score]:
    model = QueryModel(query(step))
    return model, *model.score(batch(values, step))[1:]


LEVELS = np.geomspace(3, 3000, 12)


@pytest.mark.parametrize("step", [60, 300, 900, 1800])
def test_it_is_scored_within_its_first_hour_and_an_incident_there_is_seen(step: int) -> None:
    first = 2 * 86400 // step - 7
    values = unborn(services(LEVELS, step=step, days=3), slice(10, None), first)
    hour = 3600 // step
    values[11, first + hour :] *= 3
    model, _, score = judged(values, step)
    assert (model.newcomers.start[10:] == BY_POOL).all()
    assert np.isfinite(score.anomaly_score[10:, first + hour]).all()
    assert score.anomaly_score[11, first + hour] > 1
    assert np.nanmax(score.anomaly_score[10]) < 1
    assert model.n_borrowing == 0, "after a day it stands for itself"


def test_while_it_borrows_it_is_counted() -> None:
    model, _, _ = judged(unborn(services(LEVELS), slice(10, None), 4 * DAY - 50))
    assert model.n_borrowing == 2


def test_where_days_agree_the_day_is_known_before_it_was_seen() -> None:
    values = unborn(services(LEVELS, cycle=0.5), slice(6, None), BORN)
    _, band, score = judged(values)
    # A quarter of a day later the level is another by half of itself.
    later = slice(BORN + 6, BORN + 120)
    off = np.abs(band.yhat[6:, later] - values[6:, later]) / LEVELS[6:, None]
    assert off.mean() < 0.06
    assert not (np.nan_to_num(score.anomaly_score[6:]) > 1).any()


def test_where_days_disagree_none_is_borrowed_and_none_raises_an_alarm() -> None:
    apart = np.linspace(0, 1, 12, endpoint=False)
    model, _, score = judged(
        unborn(services(np.geomspace(3, 900, 12), cycle=0.5, phases=apart), slice(9, None), BORN)
    )
    assert (model.newcomers.start[9:] == BY_POOL).all()
    assert not (np.nan_to_num(score.anomaly_score[9:]) > 1).any()


def test_temperatures_are_compared_in_degrees() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.5, (12, 4 * DAY)) + np.linspace(-8, 30, 12)[:, None]
    model, band, _ = judged(unborn(values, slice(11, None), BORN))
    assert model.newcomers.start[11] == BY_POOL
    width = (band.upper - band.lower)[:, BORN + 6]
    # A birth is an upset: for some hours its threshold is half as high again.
    assert 1.0 < width[11] / np.median(width[:11]) < 2.0


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(services(LEVELS[:4]), id="three elders only"),
        pytest.param(services(LEVELS, noise=np.geomspace(0.001, 1, 12)), id="each as loud as it likes"),
        pytest.param(services(np.append(LEVELS[:11], 1e9)), id="a level unlike theirs"),
        pytest.param(services(LEVELS, noise=np.append(np.full(11, 0.01), 0.8)), id="louder than they are"),
        pytest.param(services(LEVELS, noise=np.append(np.full(11, 0.5), 0.01)), id="quieter than they are"),
        pytest.param(services(np.append(LEVELS[:11], 0.0)), id="nothing yet"),
    ],
)
def test_who_has_nobody_like_it_waits_as_ever(values: FloatArray) -> None:
    model, _, score = judged(unborn(values, slice(-1, None), BORN))
    assert model.newcomers.start[-1] == BY_ITSELF
    assert np.isnan(score.anomaly_score[-1, BORN : BORN + 20]).all()
    assert model.n_borrowing == 0


def test_a_steady_one_is_not_blinded_by_what_loud_ones_share() -> None:
    """Half of a steady load is gone within its first day."""
    values = services(LEVELS, noise=np.append(np.full(11, 0.5), 0.01))
    values[-1, BORN + 100 : BORN + 112] *= 0.5
    _, _, score = judged(unborn(values, slice(-1, None), BORN))
    assert (score.anomaly_score[-1, BORN + 100 : BORN + 103] > 1).any()


def test_one_that_has_not_moved_yet_is_like_those_that_often_do_not() -> None:
    rng = np.random.default_rng(2)
    values = np.where(rng.random((12, 4 * DAY)) < 0.3, 1.4, 1.0) * np.geomspace(10, 100, 12)[:, None]
    values[-1, BORN : BORN + 6] = 100.0
    model, _, _ = judged(unborn(values, slice(-1, None), BORN))
    assert model.newcomers.start[-1] == BY_POOL


strange = st.builds(
    lambda level, noise, cycle, phase, seed: services(
        np.array([level]), cycle=cycle, phases=phase, noise=noise, seed=seed
    ),
    level=st.sampled_from([0.0, 1e-9, 1.0, 50.0, 1e12, -100.0]),
    noise=st.sampled_from([0.0, 0.01, 0.05, 3.0]),
    cycle=st.sampled_from([0.0, 0.5, 20.0]),
    phase=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 100),
)


@settings(deadline=None, max_examples=12)
@given(added=strange, cycle=st.sampled_from([0.0, 0.5]))
def test_one_series_more_moves_what_is_borrowed_by_a_quarter_at_most_and_others_not_at_all(
    added: FloatArray, cycle: float
) -> None:
    """In a pool of ten whose noise is alike to a tenth or so."""
    levels = np.geomspace(20, 200, 12)
    values = unborn(services(levels, cycle=cycle, noise=np.linspace(0.045, 0.055, 12)), slice(10, None), BORN)
    _, band, score = judged(values)
    more_model, more_band, more = judged(np.concatenate([values, added]))
    np.testing.assert_array_equal(more.anomaly_score[:10], score.anomaly_score[:10])
    np.testing.assert_array_equal(more_band.upper[:10], band.upper[:10])
    if more_model.newcomers.start[10] == BY_POOL:  # Bands below 0 are cut there: their upper halves tell.
        wide = (band.upper - band.yhat)[10:12, BORN + 5 : BORN + 12]
        wider = (more_band.upper - more_band.yhat)[10:12, BORN + 5 : BORN + 12]
        assert (np.abs(np.log(wider / wide)) < np.log(1.25)).all()
    else:
        assert (added <= 0).any(), "only a series of another side of 0 can take the common unit away"


@settings(deadline=None, max_examples=8)
@given(cuts=st.lists(st.integers(BORN - 5, BORN + 20), max_size=4, unique=True))
def test_batches_of_any_size_say_the_same(cuts: list[int]) -> None:
    values = unborn(services(LEVELS, cycle=0.5), slice(9, None), BORN)
    values[10, : BORN + 3] = np.nan
    values[11, BORN + 1 : BORN + 9 : 2] = np.nan
    _, _, whole = judged(values)
    model = QueryModel(query())
    edges = [0, *sorted(cuts), values.shape[1]]
    parts = [
        model.score(batch(values[:, a:b], first=a))[2].anomaly_score for a, b in itertools.pairwise(edges)
    ]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole.anomaly_score, rtol=1e-9)


def test_the_order_of_rows_does_not_matter() -> None:
    values = unborn(services(LEVELS, cycle=0.5), slice(9, None), BORN)
    turned = values[::-1].copy()
    np.testing.assert_array_equal(judged(values)[2].anomaly_score, judged(turned)[2].anomaly_score[::-1])


def test_a_saved_model_knows_who_borrowed_and_who_is_still_to(tmp_path: Path) -> None:
    values = unborn(services(LEVELS), slice(10, None), BORN)
    values[11, : BORN + 2] = np.nan
    model = QueryModel(query())
    model.score(batch(values[:, : BORN + 6]))
    assert model.newcomers.start[10:].tolist() == [BY_POOL, UNTAUGHT]
    snapshot.save(model, tmp_path / "q.model")
    resumed = snapshot.load(tmp_path / "q.model", query())
    assert resumed.n_borrowing == 1
    rest = batch(values[:, BORN + 6 :], first=BORN + 6)
    np.testing.assert_array_equal(resumed.score(rest)[2].anomaly_score, model.score(rest)[2].anomaly_score)
    assert resumed.newcomers.start[11] == BY_POOL
