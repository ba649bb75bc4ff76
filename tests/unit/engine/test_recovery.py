"""The end of an incident is no incident: what came back is judged by where it was before."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.engine.model import QueryModel
from sidecar.series import LabelSet, SeriesBatch

STEP_SECONDS, N_STEPS, LASTS = 60, 2 * 1440, 30
ONSET = N_STEPS - 360


def load(starts: np.ndarray, times: float) -> np.ndarray:
    """100 with two waves that a minute's step turns into noise; `times` as much for half an hour."""
    seconds = starts[:, None] + STEP_SECONDS * np.arange(N_STEPS)
    values: np.ndarray = 100 + 5 * np.sin(seconds / 7) + 3 * np.sin(seconds / 31)
    values[:, ONSET : ONSET + LASTS] *= times
    return values


@pytest.mark.parametrize("times", [4.0, 5.0, 8.0])
def test_nothing_but_a_clear_incident_is_flagged(times: float) -> None:
    starts = 1_790_000_000.0 + 307.0 * np.arange(100)
    model = QueryModel(QueryConfig(name="load", expr="load", step=STEP_SECONDS, forecast_horizons=()))
    batch = SeriesBatch(
        "load",
        tuple(LabelSet({"start": str(start)}) for start in starts),
        ((1_790_000_000 + STEP_SECONDS * np.arange(N_STEPS)) * 1000).astype(np.int64),
        load(starts, times),
    )
    flagged = np.nan_to_num(model.score(batch)[2].anomaly_score) > 1
    in_time = flagged[:, ONSET : ONSET + LASTS]
    assert in_time.mean() > 0.97
    assert not flagged[:, ONSET + LASTS :].any()
    assert flagged[:, :ONSET].sum() <= 2


@pytest.mark.parametrize("step", [30, 60])
@pytest.mark.parametrize(("times", "hours"), [(0.3, 3), (0.3, 1), (2.0, 3)])
def test_with_five_days_known_an_incident_stays_and_its_end_is_its_end(
    step: int, times: float, hours: int
) -> None:
    known, rows = 5 * 86_400 // step, 8
    seconds = 1_790_000_000 + step * np.arange(known + 2 * 86_400 // step)
    rng = np.random.default_rng(5)
    day = 50 * (1 + 0.5 * np.sin(2 * np.pi * seconds / 86_400))
    values = day * (1 + 0.05 * rng.standard_normal((rows, len(seconds))))
    lasts, after = hours * 3600 // step, 3600 // step
    begins = known + 3 * np.arange(rows) * (3600 // step)
    for row, begin in enumerate(begins):
        values[row, begin : begin + lasts] *= times
    model = QueryModel(QueryConfig(name="load", expr="load", step=step, forecast_horizons=()))
    labels = tuple(LabelSet({"host": str(row)}) for row in range(rows))
    batch = SeriesBatch("load", labels, (seconds * 1000).astype(np.int64), values)
    flagged = np.nan_to_num(model.score(batch)[2].anomaly_score) > 1
    during = [flagged[row, begin : begin + lasts].mean() for row, begin in enumerate(begins)]
    afterwards = [flagged[row, begin + lasts :][:after].sum() for row, begin in enumerate(begins)]
    assert np.mean(during) > 0.97
    assert np.median(afterwards) * step <= 180
