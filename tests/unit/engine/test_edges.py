"""Days that jump instead of swinging: opening hours and plateaus are judged as finely as smooth ones."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from sidecar.series import FloatArray
from tests.unit.engine.flagging import flagged

MINUTES, DAYS, N_SERIES = 1440, 15, 8
BUSY, QUIET = 80.0, 20.0


def opening_hours(late: float, *, closed_at_weekends: bool) -> FloatArray:
    """From about 9:12 to 18:06 four times the load of the night; edges come at most so many hours late."""
    rng = np.random.default_rng(7)
    hour = np.arange(MINUTES) / 60
    rows = []
    for _ in range(N_SERIES):
        for day in range(DAYS):
            opens, closes = (9.2, 18.1) + late * rng.uniform(-1, 1, 2)
            is_open = (hour >= opens) & (hour < closes) & (not closed_at_weekends or 0 < day % 7 < 6)
            rows.append(np.where(is_open, BUSY, QUIET) * (1 + 0.05 * rng.standard_normal(MINUTES)))
    return np.reshape(rows, (N_SERIES, DAYS * MINUTES))


@cache
def usual() -> FloatArray:
    """Two weeks whose edges come up to six minutes early or late, and a day."""
    return opening_hours(0.1, closed_at_weekends=False)


@pytest.mark.parametrize(
    ("first_hour", "last_hour", "times"),
    [(11, 14, 0.5), (12, 15, 0.6), (11, 14, 1.4), (2, 4, 2.0), (20, 21, 0.0)],
    ids=["half by day", "40 % down by day", "40 % up by day", "twice by night", "nothing in the evening"],
)
def test_an_incident_amid_a_plateau_is_flagged_and_stays(
    first_hour: int, last_hour: int, times: float
) -> None:
    values = usual().copy()
    incident = slice((DAYS - 1) * MINUTES + first_hour * 60, (DAYS - 1) * MINUTES + last_hour * 60)
    values[:, incident] *= times
    found = flagged(values)[:, incident]
    assert found[:, :10].any(axis=1).all()
    assert found.mean() > 0.85


def test_the_edges_themselves_are_not() -> None:
    found = flagged(usual())[:, 7 * MINUTES :].reshape(N_SERIES, -1, MINUTES)
    edges = np.r_[8 * 60 : 10 * 60, 17 * 60 : 19 * 60]
    assert found[:, :, edges].any(axis=2).mean() < 0.1
    assert found.any(axis=2).mean() < 0.4


def test_neither_is_the_second_monday_after_a_closed_weekend() -> None:
    found = flagged(opening_hours(0.0, closed_at_weekends=True))[:, 8 * MINUTES :]
    assert found.reshape(N_SERIES, -1, MINUTES).any(axis=2).mean() < 0.1


JOB = slice(20 * 60 + 31, 21 * 60 + 12)
"""Of a day: neither its begin nor its end is that of an hour."""


def nightly_job() -> FloatArray:
    """A load that swings by the day, wanders, is lower at weekends, and has a job each night."""
    rng = np.random.default_rng(9)
    minute = np.arange(DAYS * MINUTES)
    swing = 1 + 0.6 * np.cos(2 * np.pi * (minute / MINUTES - 0.6))
    weekend = np.where(minute // MINUTES % 7 < 2, 0.8, 1.0)
    wander = np.zeros((N_SERIES, minute.size))
    for at in range(1, minute.size):
        wander[:, at] = 0.98 * wander[:, at - 1] + 0.012 * rng.standard_normal(N_SERIES)
    values = 25 * swing * weekend * np.exp(wander) * (1 + 0.03 * rng.standard_normal(wander.shape))
    values.reshape(N_SERIES, DAYS, MINUTES)[:, :, JOB] += 30
    return values


def test_a_nightly_job_is_none_when_the_week_is_known_either() -> None:
    found = flagged(nightly_job()).reshape(N_SERIES, DAYS, MINUTES)[:, 5:, JOB]
    assert (found.sum(axis=2) >= 5).mean() <= 0.15  # By seed 0.10 to 0.15.


def test_what_began_amid_a_job_and_outlived_it_ends_when_it_ends() -> None:
    values = nightly_job()
    begins = 13 * MINUTES + JOB.start + 20
    values[:, begins : begins + 60] += 40
    found = flagged(values)
    assert found[:, begins : begins + 60].mean() > 0.8
    assert found[:, begins + 100 : begins + 300].mean() < 0.05
