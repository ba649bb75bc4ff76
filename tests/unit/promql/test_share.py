"""What is a share of a whole, by its expression."""

from __future__ import annotations

import numpy as np
import pytest

from sidecar.config.model import QueryConfig
from sidecar.engine.model import QueryModel
from sidecar.promql.share import is_share
from sidecar.series import LabelSet, SeriesBatch


@pytest.mark.parametrize(
    ("expr", "share"),
    [
        ('sum(rate(x{code=~"5.."}[5m])) / sum(rate(x[5m]))', True),
        ('sum by (job) (rate(x{code=~"5..",job="a"}[5m])) / sum by (job) (rate(x{job="a"}[5m]))', True),
        ('1 - sum(rate(x{code=~"5.."}[5m])) / sum(rate(x[5m]))', True),
        ('sum(rate(x{code=~"5[0-9]{2}"}[5m])) / sum(rate(x[5m]))', True),
        ("cache_hit_ratio", True),
        ('avg by (dc) (cache_hit_ratio{job="cdn"})', True),
        ("sum(cache_hit_ratio)", False),
        ("sum(rate(hits[5m])) / sum(rate(requests[5m]))", False),
        ('sum(rate(x{code="a"}[5m])) / sum(rate(x{job="b"}[5m]))', False),
        ("sum(rate(x[5m])) / sum(rate(x[1m]))", False),
        ("memory_used_bytes / memory_limit_bytes", False),
        ("sum(rate(", False),
        ("up", False),
    ],
)
def test_only_a_part_by_its_whole_is_a_share(expr: str, share: bool) -> None:
    assert is_share(expr) is share


@pytest.mark.parametrize(("expr", "ceiling"), [("cache_hit_ratio", 1.0), ("latency_seconds", np.inf)])
def test_the_band_of_a_share_ends_at_one(expr: str, ceiling: float) -> None:
    values = np.clip(np.random.default_rng(1).normal(0.97, 0.02, (1, 3000)), 0, 1)
    times = ((1_790_000_040 + 60 * np.arange(3000)) * 1000).astype(np.int64)
    model = QueryModel(QueryConfig(name="q", expr=expr, step=60.0, forecast_horizons=()))
    _, band, score = model.score(SeriesBatch("q", (LabelSet({"a": "b"}),), times, values))
    assert np.nanmax(band.upper) + 1e-6 > 1.0
    assert np.nanmax(band.upper) <= ceiling + 1e-6
    assert not (np.nan_to_num(score.anomaly_score) > 1).any()
    if np.isinf(ceiling):
        assert np.nanmax(band.upper) > 1.01
