"""What runs every hour is known by the minute: neither an event, nor a cover for the minutes between."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.engine.detect.ensemble import EnsembleDetector
from sidecar.engine.model import QueryModel
from sidecar.series import FloatArray, LabelSet, SeriesBatch
from tests.unit.engine.flagging import SUNDAY, flagged

STEP, HOUR, DAY, N_SERIES = 60, 60, 1440, 8
BASE, BUSY = 20.0, 60.0


def jobs(every: int, *, days: int = 10, late: int = 0) -> FloatArray:
    """A load three times as high for four minutes of each `every`, begun up to `late` minutes late."""
    rng = np.random.default_rng(11)
    n = days * DAY
    minute = np.arange(n) % every
    begins = 3 + rng.integers(0, late + 1, (N_SERIES, n // every)).repeat(every, axis=1)
    busy = (minute >= begins) & (minute < begins + 4)
    return np.where(busy, BUSY, BASE) * (1 + 0.05 * rng.standard_normal((N_SERIES, n)))


@pytest.mark.parametrize("every", [60, 30, 15])
@pytest.mark.parametrize("times", [2.0, 1.4, 0.5, 0.3])
def test_an_incident_between_the_jobs_is_flagged_and_stays(every: int, times: float) -> None:
    values = jobs(every)
    incident = slice(9 * DAY + 600, 9 * DAY + 660)
    values[:, incident] *= times
    found = flagged(values)[:, incident]
    assert found[:, :10].any(axis=1).all()
    assert found.mean() > 0.7


def band_between(values: FloatArray) -> float:
    """Mean width of the band of the last day, in the middle of the hours."""
    query = QueryConfig(name="load", expr="load", step=STEP, forecast_horizons=())
    labels = tuple(LabelSet({"host": str(n)}) for n in range(len(values)))
    at = ((SUNDAY + STEP * np.arange(values.shape[1])) * 1000).astype(np.int64)
    expected = QueryModel(query).score(SeriesBatch("load", labels, at, values))[1]
    width = (expected.upper - expected.lower)[:, -DAY:].reshape(len(values), -1, HOUR)
    return float(width[:, :, 20:50].mean())


def test_a_short_job_in_loud_life_widens_the_band_of_no_other_minute() -> None:
    rng = np.random.default_rng(5)
    quiet = 20.0 + rng.standard_normal((N_SERIES, 8 * DAY))
    busy = quiet + 7.0 * (np.arange(8 * DAY) % HOUR < 3)
    assert band_between(busy) < 1.15 * band_between(quiet)


@pytest.mark.parametrize(("every", "late"), [(60, 0), (15, 0), (60, 1)], ids=str)
def test_the_jobs_are_no_events(every: int, late: int) -> None:
    hours = flagged(jobs(every, late=late))[:, 3 * DAY :].reshape(N_SERIES, -1, HOUR)
    assert hours.any(axis=2).mean() < 0.02


def test_neither_are_they_after_an_outage() -> None:
    values = jobs(60)
    for hour in range(9 * 24, 10 * 24):
        values[:, hour * HOUR - 6 : hour * HOUR + 4] = np.nan  # It ends amid the job.
    hours = flagged(values)[:, 9 * DAY :].reshape(N_SERIES, -1, HOUR)
    assert hours.any(axis=2).mean() < 0.05


def test_a_job_at_an_hour_s_other_end_is_one() -> None:
    values = jobs(60)
    values[:, 9 * DAY + 600 + 40 : 9 * DAY + 600 + 44] *= BUSY / BASE
    assert flagged(values)[:, 9 * DAY + 640 : 9 * DAY + 644].any(axis=1).all()


def test_where_nothing_recurs_the_hour_changes_nothing() -> None:
    values = 100 + np.random.default_rng(3).standard_normal((2, 4 * DAY))
    query = QueryConfig(name="load", expr="load", step=STEP, forecast_horizons=())
    model = QueryModel(query)
    labels = tuple(LabelSet({"host": str(n)}) for n in range(2))
    at = ((SUNDAY + STEP * np.arange(values.shape[1])) * 1000).astype(np.int64)
    expected = model.score(SeriesBatch("load", labels, at, values))[1].yhat[:, -2 * DAY :]
    of_minute = expected.reshape(2, -1, HOUR).mean(axis=1)
    assert np.ptp(of_minute, axis=1).max() < 0.5


def growing_jobs() -> FloatArray:
    """A load that swings by the day, and for five minutes of each hour 1.6 times what it is at that time."""
    rng = np.random.default_rng(13)
    minute = np.arange(10 * DAY)
    swing = 1 + 0.55 * np.sin(2 * np.pi * (minute / DAY - 0.3))
    of_hour = np.where((minute - 7) % HOUR < 5, 1.6, 1.0)
    return BASE * swing * of_hour * np.exp(0.05 * rng.standard_normal((N_SERIES, minute.size)))


@pytest.mark.parametrize("hour", [3, 8, 13, 18, 22])
def test_where_the_job_grows_with_the_load_so_does_what_is_expected_of_it(hour: int) -> None:
    values = growing_jobs()
    incident = slice(9 * DAY + hour * HOUR + 20, 9 * DAY + hour * HOUR + 50)
    values[:, incident] *= 1.45
    found = flagged(values)
    assert found[:, incident].any(axis=1).mean() > 0.8
    assert found[:, 3 * DAY : 9 * DAY].reshape(N_SERIES, -1, HOUR).any(axis=2).mean() < 0.01


def test_what_a_first_day_was_off_does_not_stay_with_the_minutes() -> None:
    detector = EnsembleDetector(8.0, STEP)
    values = growing_jobs()
    detector.resize(N_SERIES)
    detector.calibrator.resize(N_SERIES)
    labels = tuple(LabelSet({"host": str(n)}) for n in range(N_SERIES))
    at = ((SUNDAY + STEP * np.arange(values.shape[1])) * 1000).astype(np.int64)
    detector.judge(SeriesBatch("load", labels, at, values))
    assert np.abs(detector.arrays["minutes"].mean(axis=1)).max() < 0.05 * BASE
