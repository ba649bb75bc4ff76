"""What a series shows only beside its siblings is found, and what moves all of them passes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.engine.detect.siblings import families_of
from sidecar.engine.detect.spectral import saliency
from sidecar.engine.families import Families
from sidecar.engine.model import QueryModel
from sidecar.series import BoolArray, FloatArray, LabelSet, SeriesBatch

STEP = 300
N, T = 30, 6 * 288
JUDGED = 2 * 288  # From here on; before, they learn.
LASTS = 24


def fleet(rng: np.random.Generator) -> FloatArray:
    """Pods that share a season and a random walk, each with a load factor of its own."""
    t = np.arange(T)
    load = 100 * (1 + 0.5 * np.sin(2 * np.pi * t / 288)) * np.exp(np.cumsum(rng.normal(0, 0.02, T)))
    return np.asarray(load * (1 + rng.normal(0, 0.1, (N, 1))) * (1 + rng.normal(0, 0.03, (N, T))))


def judged(detector: str, labels: tuple[LabelSet, ...], values: FloatArray) -> FloatArray:
    times = (1_790_000_100 // STEP + np.arange(values.shape[1])) * STEP * 1000
    query = QueryConfig(name="q", expr="up", step=STEP, forecast_horizons=(), detector=detector)
    batch = SeriesBatch("q", labels, times.astype(np.int64), values)
    return QueryModel(query).score(batch)[2].anomaly_score


def flagged(detector: str, values: FloatArray) -> BoolArray:
    labels = tuple(LabelSet({"job": "a", "pod": f"p{i}"}) for i in range(len(values)))
    return np.asarray(np.nan_to_num(judged(detector, labels, values)) > 1)


def tally(found: BoolArray, events: list[tuple[int, int]]) -> tuple[int, int]:
    """Events found, and runs of flags elsewhere."""
    hits = sum(bool(found[row, at : at + LASTS].any()) for row, at in events)
    rest = found.copy()
    rest[:, :JUDGED] = False
    for row, at in events:
        rest[row, at : at + LASTS + 12] = False
    edges = np.diff(np.concatenate([np.zeros((len(rest), 1)), rest], axis=1), axis=1)
    return hits, int((edges == 1).sum())


def test_a_pod_unlike_its_siblings_is_found_and_what_moves_all_is_not() -> None:
    rng = np.random.default_rng(4)
    hits = false_alarms = n_events = 0
    for _ in range(3):
        values = fleet(rng)
        events = list(
            zip(rng.choice(N, 6, replace=False).tolist(), rng.integers(1000, 1650, 6).tolist(), strict=True)
        )
        for row, at in events:
            values[row, at : at + LASTS] *= 1.3  # Well inside its daily range.
        values[:, 800:830] *= 2.0
        found, elsewhere = tally(flagged("siblings", values), events)
        hits, false_alarms, n_events = hits + found, false_alarms + elsewhere, n_events + len(events)
    assert hits >= 0.9 * n_events
    assert false_alarms <= 3 * N, "about one a series in four days, the doubling of all included"


def test_families_are_told_apart_by_what_does_not_pass() -> None:
    sets = tuple(LabelSet({"job": job, "pod": pod}) for job, pod in (("a", "1"), ("b", "2"), ("a", "3")))
    batch = SeriesBatch("q", sets, np.zeros(1, dtype=np.int64), np.zeros((len(sets), 1)))
    order, starts = families_of(Families(), batch)
    assert [order[a:b].tolist() for a, b in itertools.pairwise(starts)] == [[0, 2], [1]]


@pytest.mark.parametrize("replicas", [1, 3])
def test_series_of_small_families_are_judged_beside_all_also_after_a_rollout(replicas: int) -> None:
    """One workload more or less in a rollout once left all others unjudged for a day."""
    values = fleet(np.random.default_rng(6))
    values[7, 1400:1424] *= 1.5
    labels = [LabelSet({"app": f"a{row // replicas}", "pod": f"p{row}"}) for row in range(N)]
    rolled = np.where(np.arange(T) < 1300, np.nan, values[0])
    values[0, 1300:] = np.nan
    labels.append(LabelSet({"app": "a0", "pod": "of the rollout"}))
    score = judged("siblings", tuple(labels), np.vstack([values, rolled]))
    assert np.isfinite(score[1:N, JUDGED:]).all()
    assert (score[7, 1400:1424] > 1).any()
    assert (score[:, 1300:1400] > 1).sum() <= 3


@pytest.mark.parametrize("at", [20, 45])
def test_saliency_is_highest_where_the_series_is_odd(at: int) -> None:
    t = np.arange(64)
    window = (np.sin(2 * np.pi * t / 16) + np.random.default_rng(1).normal(0, 0.05, 64))[None, :]
    window[0, at] += 3.0
    assert abs(int(saliency(window)[0].argmax()) - at) <= 1
