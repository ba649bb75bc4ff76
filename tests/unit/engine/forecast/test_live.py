"""The pool beside the online forecaster: selected, corrected by what came, saved and restored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sidecar.engine.forecast.live import PoolForecaster
from sidecar.engine.forecast.seasonal import SeasonalForecaster
from sidecar.errors import ModelError
from sidecar.series import FloatArray, LabelSet, SeriesBatch

STEP = 300.0
DAY = 288
START = 1_790_000_100
HORIZONS = (300.0, 3600.0, 14400.0, 86400.0)
LEADS = [1, 12, 48, 288]


def batch(values: FloatArray, first: int, end: int) -> SeriesBatch:
    times = (START + np.arange(first, end) * 300) * 1000
    labels = tuple(LabelSet({"i": str(i)}) for i in range(len(values)))
    return SeriesBatch("q", labels, times.astype(np.int64), values[:, first:end])


def workdays(n_rows: int, n_days: int) -> FloatArray:
    """Busy by day and idle at week-ends, with sharp edges that hour bins blur."""
    at = np.arange(n_days * DAY)
    busy = ((at % DAY) > 100) & ((at % DAY) < 200) & ((at // DAY) % 7 < 5)
    noise = np.random.default_rng(4).normal(0, 2, (n_rows, len(at)))
    return np.asarray(50 + 40 * busy + noise)


def learnt(values: FloatArray, n: int, **options: int) -> PoolForecaster:
    forecaster = PoolForecaster(HORIZONS, STEP, clock=lambda: 0.0, **options)
    forecaster.resize(len(values))
    forecaster.update(batch(values, 0, n))
    return forecaster


def errors(
    forecaster: PoolForecaster | SeasonalForecaster, values: FloatArray, start: int, steps: int
) -> FloatArray:
    found = []
    for t in range(start, start + steps):
        forecaster.update(batch(values, t, t + 1))
        if isinstance(forecaster, PoolForecaster):
            forecaster.work(1.0)
        if t % 10 == 0:
            found.append(
                [
                    np.abs(f.yhat - values[:, t + lead]).mean()
                    for f, lead in zip(forecaster.predict(), LEADS, strict=True)
                ]
            )
    return np.asarray(found).mean(axis=0)


def test_the_selected_pool_is_nearer_than_the_online_forecaster_alone() -> None:
    values = workdays(2, 16)
    start = 14 * DAY
    plain = SeasonalForecaster(HORIZONS, STEP)
    plain.resize(2)
    plain.update(batch(values, 0, start))
    ours = errors(learnt(values, start), values, start, DAY)
    theirs = errors(plain, values, start, DAY)
    # Five minutes ahead both are at the noise, 1.6; beyond, edges matter.
    assert ours[0] < 1.2 * theirs[0]
    assert (ours[1:] < 0.8 * theirs[1:]).all()
    assert ours.max() < 3.0


def test_without_work_the_online_forecaster_serves() -> None:
    values = workdays(1, 15)
    plain = SeasonalForecaster(HORIZONS, STEP)
    plain.resize(1)
    plain.update(batch(values, 0, 14 * DAY))
    for ours, theirs in zip(learnt(values, 14 * DAY).predict(), plain.predict(), strict=True):
        np.testing.assert_array_equal(ours.yhat, theirs.yhat)


def test_a_selection_is_kept_for_hours_and_a_refresh_follows_each_slot() -> None:
    values = workdays(1, 15)
    forecaster = learnt(values, 14 * DAY)
    assert forecaster.work(1.0) == 1
    first = forecaster._chosen[0].selection
    assert forecaster.work(1.0) == 0
    forecaster.update(batch(values, 14 * DAY, 14 * DAY + 1))
    assert forecaster.work(1.0) == 1
    assert forecaster._chosen[0].selection is first
    forecaster.update(batch(values, 14 * DAY + 1, 14 * DAY + 74))
    forecaster.work(1.0)
    assert forecaster._chosen[0].selection is not first


def test_a_series_that_changes_its_ways_is_selected_anew_before_its_time() -> None:
    values = workdays(1, 16)
    changed = values.copy()
    # From now on it is busy by night: what was selected misses.
    changed[:, 14 * DAY :] = 140.0 - values[:, 14 * DAY :] + 60.0 * (np.arange(2 * DAY) % 2)
    slots = {}
    for name, series in (("same", values), ("changed", changed)):
        forecaster = learnt(series, 14 * DAY)
        forecaster.work(1.0)
        for t in range(14 * DAY, 14 * DAY + 40):
            forecaster.update(batch(series, t, t + 1))
            forecaster.work(1.0)
            forecaster.predict()
        slots[name] = forecaster._chosen[0].made_at - int(START // STEP) - 14 * DAY
    assert slots["same"] < 0
    assert 0 < slots["changed"] < 40


def test_work_ends_when_its_time_is_over_and_goes_on_with_the_rows_left() -> None:
    values = workdays(3, 15)
    ticks = iter(range(100))
    forecaster = PoolForecaster(HORIZONS, STEP, clock=lambda: float(next(ticks)))
    forecaster.resize(3)
    forecaster.update(batch(values, 0, 14 * DAY))
    assert [forecaster.work(0.5) for _ in range(4)] == [1, 1, 1, 0]


def test_intervals_that_are_too_narrow_grow_until_they_hold() -> None:
    values = workdays(1, 18)
    values[:, 14 * DAY :] += np.random.default_rng(0).normal(0, 12, (1, 4 * DAY))
    forecaster = learnt(values, 14 * DAY)
    forecaster.work(1.0)
    assert np.isnan(forecaster.coverage()[300.0])
    inside = []
    for t in range(14 * DAY, 17 * DAY):
        forecaster.update(batch(values, t, t + 1))
        # Widths of the selection stay those of the quiet past: only the correction can help.
        forecaster._chosen[0] = replace(forecaster._chosen[0], made_at=int(forecaster._now // STEP))
        forecaster.work(1.0)
        near = forecaster.predict()[0]
        inside.append(near.lower[0] <= values[0, t + 1] <= near.upper[0])
    assert np.mean(inside[:12]) < 0.8
    assert np.mean(inside[-DAY:]) > 0.9
    assert 0.8 < forecaster.coverage()[300.0] < 1.0


def test_rows_beyond_the_bound_on_memory_are_served_by_the_online_forecaster() -> None:
    values = workdays(3, 15)
    forecaster = learnt(values, 14 * DAY, history_bytes=2 * 4 * 14 * 12)
    assert forecaster.work(1.0) == 2
    far = forecaster.predict()[3]
    assert np.isfinite(far.yhat).all()
    assert forecaster.state()["pool_history"].shape[0] == 2
    assert forecaster.state()["seasonal_day"].shape[0] == 3


def test_more_rows_make_slots_coarser_and_history_stays() -> None:
    values = workdays(3, 15)
    room = 2 * 4 * 14 * DAY
    forecaster = PoolForecaster(HORIZONS, STEP, clock=lambda: 0.0, history_bytes=room)
    forecaster.resize(2)
    forecaster.update(batch(values[:2], 0, 14 * DAY - 60))
    assert forecaster.slot_seconds == 300.0
    forecaster.resize(3)
    assert forecaster.slot_seconds == 600.0
    assert forecaster.state()["pool_history"].nbytes <= room
    from_the_start = learnt(values, 14 * DAY - 60, history_bytes=room)
    np.testing.assert_allclose(
        forecaster.state()["pool_history"][:2], from_the_start.state()["pool_history"][:2], rtol=1e-5
    )
    forecaster.update(batch(values, 14 * DAY - 60, 14 * DAY))
    assert forecaster.work(1.0) == 2
    day_ahead = forecaster.predict()[3].yhat[:2]
    assert np.abs(day_ahead - values[:2, 15 * DAY - 1]).max() < 10


@pytest.mark.parametrize("room", [32 * 2**20, 2 * 4 * 14 * DAY], ids=["fine", "coarse"])
def test_saved_and_restored_it_says_the_same(room: int) -> None:
    values = workdays(3, 15)[:2] if room > 2**20 else workdays(3, 15)
    forecaster = learnt(values, 14 * DAY, history_bytes=room)
    forecaster.work(1.0)
    twin = PoolForecaster(HORIZONS, STEP, clock=lambda: 0.0, history_bytes=room).restore(
        {k: v.copy() for k, v in forecaster.state().items()}
    )
    for ours, theirs in zip(forecaster.predict(), twin.predict(), strict=True):
        np.testing.assert_array_equal(ours.upper, theirs.upper)
    twin.update(batch(values, 14 * DAY, 14 * DAY + 2))
    assert twin.work(1.0) == len(values)
    assert twin.notes == ()
    for row, chosen in forecaster._chosen.items():
        # Refreshed, not selected anew.
        assert twin._chosen[row].made_at == chosen.made_at
    with pytest.raises(ModelError):
        PoolForecaster(HORIZONS[:2], STEP).restore(forecaster.state())


def test_a_state_without_selections_is_taken_and_says_that_they_are_made_anew() -> None:
    values = workdays(1, 15)
    forecaster = learnt(values, 14 * DAY)
    forecaster.work(1.0)
    state = {k: v.copy() for k, v in forecaster.state().items() if k != "selections"}
    twin = PoolForecaster(HORIZONS, STEP, clock=lambda: 0.0).restore(state)
    assert twin.notes == ("selecting anew: selections were not saved with the model",)
    twin.update(batch(values, 14 * DAY, 14 * DAY + 1))
    assert twin.work(1.0) == 1
    assert twin._chosen[0].made_at > forecaster._chosen[0].made_at


def test_a_reset_row_is_forgotten() -> None:
    values = workdays(2, 15)
    forecaster = learnt(values, 14 * DAY)
    forecaster.work(1.0)
    forecaster.reset(np.array([0]))
    far = forecaster.predict()[3]
    assert np.isnan(far.yhat[0])
    assert np.isfinite(far.yhat[1])
    assert forecaster.work(1.0) == 0


def test_gaps_and_constants_survive() -> None:
    values = workdays(3, 15)
    values[0] = 5.0
    values[1, ::3] = np.nan
    values[2, : 13 * DAY] = np.nan
    forecaster = learnt(values, 14 * DAY)
    forecaster.work(1.0)
    for forecast in forecaster.predict():
        assert forecast.yhat[0] == pytest.approx(5.0)
        assert np.isfinite([forecast.yhat, forecast.lower, forecast.upper]).all()
        assert (forecast.lower <= forecast.yhat).all()
        assert (forecast.yhat <= forecast.upper).all()


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(1.7e9, id="time since a moment that never was"),
        pytest.param(1e149, id="no number of this world"),
    ],
)
def test_a_first_sample_of_another_size_does_not_blur_what_follows(first: float) -> None:
    values = workdays(1, 3)
    odd = values.copy()
    odd[0, :3] = first
    said = []
    for one in (values, odd):
        forecaster = learnt(one, 3 * DAY)
        forecaster.work(60.0)
        # The past has another range, so rules may go further; they must not say what no sample was.
        said.append([forecast.yhat[0] for forecast in forecaster.predict()])
    assert np.abs(np.subtract(*said)).max() < 15.0
