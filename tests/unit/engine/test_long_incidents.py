"""Incidents that last, on series that pronoia has known for days only."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.engine.detect.ensemble import EnsembleDetector
from sidecar.engine.protocols import Judged
from sidecar.series import FloatArray, LabelSet, SeriesBatch

DAYS, MINUTES_A_DAY = 4, 1440
BEGAN = DAYS * MINUTES_A_DAY


def judge(values: FloatArray, minutes: FloatArray | None = None) -> Judged:
    """Judged by the minute, or at these minutes."""
    at = np.arange(values.shape[1]) if minutes is None else minutes
    labels = tuple(LabelSet({"row": str(n)}) for n in range(len(values)))
    detector = EnsembleDetector(1.0, 60.0)
    detector.resize(len(values))
    detector.calibrator.resize(len(values))
    return detector.judge(
        SeriesBatch("q", labels, (1_700_000_000_000 + 60_000 * at).astype(np.int64), values)
    )


def doubled(minutes: int, n_rows: int = 10) -> FloatArray:
    """Flat with 5 % of noise, twice as much for these minutes, then an hour as before."""
    rng = np.random.default_rng(7)
    values = 100.0 * (1.0 + 0.05 * rng.standard_normal((n_rows, BEGAN + minutes + 60)))
    values[:, BEGAN : BEGAN + minutes] *= 2.0
    return values


@pytest.mark.parametrize(("minutes", "least"), [(30, 0.95), (110, 0.95), (180, 0.9)])
def test_an_incident_on_a_young_series_is_told_of_while_it_lasts(minutes: int, least: float) -> None:
    score = judge(doubled(minutes)).score
    assert (score[:, BEGAN : BEGAN + minutes] > 1.0).mean() > least


@pytest.mark.parametrize("minutes", [20, 40, 60, 110])
def test_what_comes_back_from_an_incident_is_no_incident(minutes: int) -> None:
    score = judge(doubled(minutes)).score
    assert not (score[:, BEGAN + minutes :] > 1.0).any()


def test_an_outage_of_ours_is_not_how_long_an_incident_lasted() -> None:
    values = doubled(40)
    minutes = np.arange(values.shape[1], dtype=float)
    minutes[BEGAN + 10 :] += 300.0
    found = judge(values[:, : BEGAN + 40], minutes[: BEGAN + 40])
    assert not found.accepted.any()
    assert (found.score[:, BEGAN + 11 :] > 1.0).mean() > 0.9
