"""What a detector does beside the scoring path is done, counted and told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import QueryConfig
from sidecar.engine.model import QueryModel
from sidecar.loop.beside import Beside, BesideMetrics
from sidecar.series import LabelSet, SeriesBatch

STEP = 60


def column(at: int, n: int) -> SeriesBatch:
    times = (1_790_000_040 + (at + np.arange(n)) * STEP) * 1000
    labels = tuple(LabelSet({"i": str(i)}) for i in range(3))
    values = np.random.default_rng(at).normal(50, 2, (3, n))
    return SeriesBatch("q", labels, times.astype(np.int64), values)


@pytest.mark.parametrize("detector", ["kmeans", "council", "ensemble"])
def test_fits_are_elsewhere_and_told_once(detector: str) -> None:
    registry = CollectorRegistry()
    query = QueryConfig(
        name="q", expr="x", step=STEP, detector=detector, council=("kmeans",), forecast_horizons=()
    )
    model = QueryModel(query)
    with ThreadPoolExecutor(1) as trainer:
        beside = Beside("q", trainer, BesideMetrics(registry))
        beside.put_aside(model)
        beside.work(model, 1.0)
        model.update(column(0, 100))
        beside.work(model, 60.0)
        trainer.submit(int).result(60)  # The fit was queued before.
        for at in (100, 101):
            model.update(column(at, 1))
            beside.work(model, 60.0)
    facts = {"query": "q", "detector": "kmeans"}
    fits = registry.get_sample_value("pronoia_detector_fits_total", facts | {"result": "ok"})
    groups = registry.get_sample_value("pronoia_detector_quality", facts | {"measure": "groups"})
    if detector == "ensemble":
        assert fits is None
    else:
        assert fits == 1
        assert groups is not None
        assert groups >= 2
    beside.forget()
    assert registry.get_sample_value("pronoia_detector_fits_total", facts | {"result": "ok"}) is None
