"""The quality sink counts what passes by, shows metrics, forgets what is retired."""

from __future__ import annotations

from pathlib import Path

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


HOUR = 60


def hours(
    sink: QualitySink, first: int, last: int, labels: tuple[LabelSet, ...], factor: float = 1.0
) -> None:
    """A sample of each of these hours."""
    for step in range(first * HOUR, last * HOUR, HOUR):
        actual = 100.0 + np.random.default_rng(step).normal(0, 1, len(labels))
        sink.publish(evaluation(step, actual * factor, labels))


def test_a_restart_costs_nothing_of_what_is_known_of_the_data(tmp_path: Path) -> None:
    last = LabelSet({"pod": "new"})
    straight = QualitySink(QualityMetrics(CollectorRegistry()))
    hours(straight, 0, 400, LABELS)
    before = QualitySink(QualityMetrics(CollectorRegistry()), directory=tmp_path)
    hours(before, 0, 400, LABELS)
    before.save()
    after = QualitySink(QualityMetrics(CollectorRegistry()), directory=tmp_path)
    for sink in (straight, after):
        hours(sink, 400, 420, LABELS, factor=1.2)
    assert after.report() == straight.report()
    assert after.report()[0]["changed_series"] == len(LABELS)
    moved = QualitySink(QualityMetrics(CollectorRegistry()), directory=tmp_path)
    hours(moved, 400, 420, (last, *LABELS[::-1][:2]), factor=1.2)
    (found,) = moved.report()
    assert (found["changed_series"], found["young_series"]) == (2, 1)


def test_counts_are_written_once_an_hour_and_damaged_ones_set_aside(tmp_path: Path) -> None:
    sink = QualitySink(QualityMetrics(CollectorRegistry()), directory=tmp_path)
    file = tmp_path / "load.quality"
    sink.publish(evaluation(HOUR, np.full(4, 5.0)))
    sink.save(all_of_them=False)
    file.write_bytes(file.read_bytes()[:100])
    sink.publish(evaluation(HOUR + 1, np.full(4, 5.0)))
    sink.save(all_of_them=False)
    assert file.stat().st_size == 100
    again = QualitySink(QualityMetrics(CollectorRegistry()), directory=tmp_path)
    again.publish(evaluation(HOUR + 2, np.full(4, 5.0)))
    assert again.report()[0]["n_series"] == 4
    again.save()
    assert file.stat().st_size > 100
