"""A new member of a family is judged from its first sample, by what the family knows."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.engine.model import QueryModel
from sidecar.engine.registry import DETECTORS
from sidecar.series import FloatArray, LabelSet, SeriesBatch

STEP = 60
DAY = 1440
DAYS = 8
BORN = 7 * DAY + 600
START = 1_790_000_000 // 86400 * 86400
QUERY = QueryConfig(name="q", expr="x", step=STEP, forecast_horizons=())


def pods(n: int, seed: int = 0) -> FloatArray:
    """Members of one workload: the same daily cycle around 100, noise of 3."""
    rng = np.random.default_rng(seed)
    cycle = 40 * np.sin(2 * np.pi * np.arange(DAYS * DAY) / DAY)
    return np.asarray(100 + cycle + rng.normal(0, 3, (n, DAYS * DAY)))


def named(*pod: str, app: str = "search") -> tuple[LabelSet, ...]:
    return tuple(LabelSet({"app": app, "pod": name}) for name in pod)


def batch(values: FloatArray, labels: tuple[LabelSet, ...], first: int = 0) -> SeriesBatch:
    times = (START + np.arange(first, first + values.shape[1]) * STEP) * 1000
    return SeriesBatch("q", labels, times.astype(np.int64), values)


# One needs siblings at the same moment, the other asks for the shape of 64 points: nothing to hand on.
WITHOUT_EXPECTATION = {
    "siblings",
    "spectral_residual",
    "multivariate",
    "isolation_forest",
    "kmeans",
    "gaussian_mixture",
    "dbscan",
    "spectral_clusters",
    "autoencoder",
}


# What a council hands on is its ensemble's; its members would fit for half a minute to show it once more.
ASKED = DETECTORS.keys() - WITHOUT_EXPECTATION - {"council"}


@pytest.mark.parametrize("detector", sorted(ASKED))
def test_a_new_pod_is_judged_from_its_first_sample(detector: str) -> None:
    model = QueryModel(QUERY, detector=detector)
    old = pods(3)
    model.score(batch(old[:, :BORN], named("a", "b", "c")))
    new = pods(1, seed=9)[:, BORN : BORN + 60]
    _, band, score = model.score(batch(new, named("d"), BORN))
    assert np.isfinite(score.anomaly_score[3]).all()
    assert not (score.anomaly_score[3] > 1).any()
    assert model.counts.adopted_rows == 1
    assert abs(band.yhat[3, 0] - new[0, 0]) < 60


def test_a_new_pod_that_is_ill_is_flagged_at_once() -> None:
    model = QueryModel(QUERY)
    model.score(batch(pods(3)[:, :BORN], named("a", "b", "c")))
    _, _, score = model.score(batch(np.full((1, 5), 5.0), named("d"), BORN))
    assert (score.anomaly_score[3] > 1).all()


def test_a_rollout_of_all_pods_raises_nothing() -> None:
    model = QueryModel(QUERY)
    model.score(batch(pods(3)[:, :BORN], named("a", "b", "c")))
    _, _, score = model.score(batch(pods(3, seed=4)[:, BORN : BORN + 240], named("d", "e", "f"), BORN))
    assert not (np.nan_to_num(score.anomaly_score[3:]) > 1).any()
    assert model.counts.adopted_rows == 3


def test_members_that_differ_teach_nothing() -> None:
    model = QueryModel(QUERY)
    shards = pods(4) * np.array([[1.0], [10.0], [40.0], [200.0]])
    model.score(batch(shards[:, :BORN], named("a", "b", "c", "d")))
    _, _, score = model.score(batch(pods(1)[:, BORN : BORN + 10] * 3000, named("e"), BORN))
    assert np.isnan(score.anomaly_score[4]).all()
    assert model.counts.adopted_rows == 0


def test_another_workload_teaches_nothing() -> None:
    model = QueryModel(QUERY)
    model.score(batch(pods(2)[:, :BORN], named("a", "b")))
    _, _, score = model.score(batch(pods(1)[:, BORN : BORN + 10], named("a", app="billing"), BORN))
    assert np.isnan(score.anomaly_score[2]).all()


def test_births_inside_a_batch_are_seen_as_they_would_be_live() -> None:
    values = pods(4)
    values[2, :BORN] = np.nan
    values[3, : BORN + 7] = np.nan
    labels = named("a", "b", "c", "d")
    whole = QueryModel(QUERY)
    _, _, at_once = whole.score(batch(values, labels))
    live = QueryModel(QUERY)
    parts = []
    for first, end in ((0, BORN - 3), (BORN - 3, BORN + 2), (BORN + 2, BORN + 8), (BORN + 8, DAYS * DAY)):
        parts.append(live.score(batch(values[:, first:end], labels, first))[2].anomaly_score)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), at_once.anomaly_score, rtol=1e-9)
    assert whole.counts.adopted_rows == live.counts.adopted_rows == 2
