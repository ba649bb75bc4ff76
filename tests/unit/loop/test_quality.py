"""The quality sink counts what passes by, shows metrics, forgets what is retired."""

from __future__ import annotations

import numpy as np
from prometheus_client import CollectorRegistry

from sidecar.loop.quality import QualityMetrics, QualitySink
from sidecar.series import Evaluation, LabelSet

LABELS = tuple(LabelSet({"pod": str(i)}) for i in range(4))


def evaluation(step: int, actual: np.ndarray, labels: tuple[LabelSet, ...] = LABELS) -> Evaluation:
    n = len(actual)
    return Evaluation(
        "load", "default", step * 60_000, labels, actual, actual, actual, actual, np.zeros(n),
        np.zeros(n, dtype=np.int8), np.ones(n),
    )  # fmt: skip


def test_what_passes_by_is_reported_and_forgotten() -> None:
    registry = CollectorRegistry()
    sink = QualitySink(QualityMetrics(registry), {"load": 5}.get)
    rng = np.random.default_rng(1)
    for step in range(1, 102):
        actual = rng.normal(10, 1, 4)
        actual[0] = 7.0
        if step % 3 == 0:
            actual[1] = np.nan
        sink.publish(evaluation(step, actual))
    (found,) = sink.report()
    assert (found["query"], found["n_series"], found["flat_series"]) == ("load", 4, 1)
    assert {one["kind"] for one in found["findings"]} == {"flat", "gaps", "young"}
    assert found["gap_ratio"] == np.float64(33 / 404)
    labels = {"query": "load"}
    assert 0 < (registry.get_sample_value("pronoia_query_data_quality_ratio", labels) or 0) < 1
    assert registry.get_sample_value("pronoia_query_doubtful_series", labels | {"trait": "flat"}) == 1
    assert registry.get_sample_value("pronoia_query_series_limit_ratio", labels) == 0.8
    sink.retire("load")
    assert sink.report() == []
    assert registry.get_sample_value("pronoia_query_gap_ratio", labels) is None


def test_rows_that_change_hands_and_models_with_fewer_rows() -> None:
    sink = QualitySink(QualityMetrics(CollectorRegistry()))
    for step in range(40):
        sink.publish(evaluation(step, np.full(4, 5.0)))
    sink.publish(evaluation(41, np.full(4, 5.0), (LabelSet({"pod": "new"}), *LABELS[1:])))
    assert sink.report()[0]["flat_series"] == 3
    sink.publish(evaluation(42, np.full(2, 5.0), LABELS[:2]))
    assert sink.report()[0]["n_series"] == 2


def test_expectations_that_stay_off_are_counted() -> None:
    registry = CollectorRegistry()
    sink = QualitySink(QualityMetrics(registry))
    expected, half = np.full(4, 10.0), 2.0
    for step in range(1, 102):
        actual = expected + np.array([0.0, 0.1, 1.5, -1.5])
        sink.publish(
            Evaluation(
                "load", "default", step * 60_000, LABELS, actual, expected, expected - half, expected + half,
                np.zeros(4), np.zeros(4, dtype=np.int8), np.ones(4),
            )
        )  # fmt: skip
    assert (sink.report()[0]["drifting_series"], sink.report()[0]["changed_series"]) == (2, 0)
    assert sink.drifting("load") == 0.5
    labels = {"query": "load", "trait": "drifting"}
    assert registry.get_sample_value("pronoia_query_doubtful_series", labels) == 2
