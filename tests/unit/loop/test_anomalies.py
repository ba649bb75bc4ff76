"""One anomaly is one story: a start, an end, and no flicker between."""

from __future__ import annotations

import dataclasses

import numpy as np

from sidecar.events import Event, EventBus
from sidecar.loop.anomalies import EVENTS_PER_STEP, QUIET_STEPS, AnomalyTracker
from sidecar.series import Evaluation, LabelSet


class Bus(EventBus):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Event] = []

    def publish(self, event: Event) -> None:
        self.seen.append(event)


def evaluation(*scores: float) -> Evaluation:
    values = np.array(scores, dtype=np.float64)
    n = len(scores)
    return Evaluation(
        query="q",
        tenant="default",
        timestamp_ms=0,
        labels=tuple(LabelSet({"i": str(i)}) for i in range(n)),
        actual=values,
        expected=values,
        lower=values,
        upper=values,
        anomaly_score=values,
        direction=np.zeros(n, dtype=np.int8),
        confidence=np.ones(n),
    )


def kinds(bus: Bus) -> list[str]:
    return [event.kind for event in bus.seen]


def test_a_flickering_score_is_one_anomaly() -> None:
    bus = Bus()
    tracker = AnomalyTracker("q", bus, lambda: 0.0)
    for score in (0.5, 2.0, 0.9, 2.0, 1.5):
        tracker.observe(evaluation(score))
    assert kinds(bus) == ["anomaly.started"]
    for _ in range(QUIET_STEPS):
        tracker.observe(evaluation(0.1))
    assert kinds(bus) == ["anomaly.started", "anomaly.ended"]
    assert bus.seen[0].facts["score"] == 2.0


def test_a_fleet_that_breaks_at_once_tells_the_worst_and_counts_the_rest() -> None:
    bus = Bus()
    tracker = AnomalyTracker("q", bus, lambda: 0.0)
    tracker.observe(evaluation(*[2.0 + i for i in range(50)]))
    assert len(bus.seen) == EVENTS_PER_STEP
    assert bus.seen[0].facts["labels"] == {"i": "49"}
    assert bus.seen[0].facts["and_others"] == 50 - EVENTS_PER_STEP


def test_unknown_scores_and_new_rows_are_not_anomalies() -> None:
    bus = Bus()
    tracker = AnomalyTracker("q", bus, lambda: 0.0)
    tracker.observe(evaluation(np.nan))
    tracker.observe(evaluation(np.nan, 0.2, 1.0))
    tracker.observe(evaluation(0.1))
    assert kinds(bus) == []


def test_a_level_that_was_accepted_is_told_with_its_series() -> None:
    bus = Bus()
    tracker = AnomalyTracker("q", bus, lambda: 0.0)
    accepted = dataclasses.replace(evaluation(0.5, 0.5), accepted=np.array([False, True]))
    tracker.observe(accepted)
    assert kinds(bus) == ["shift.accepted"]
    assert bus.seen[0].facts["labels"] == {"i": "1"}


def test_a_series_that_stops_and_comes_back_is_told_once_each() -> None:
    bus = Bus()
    tracker = AnomalyTracker("q", bus, lambda: 0.0)
    for absent in (None, np.array([False, True]), np.array([False, True]), None, None):
        tracker.observe(dataclasses.replace(evaluation(0.1, 0.1), absent=absent))
    assert kinds(bus) == ["series.absent", "series.returned"]
    assert bus.seen[0].facts["labels"] == {"i": "1"}


def test_a_series_that_is_forgotten_is_told_by_its_labels() -> None:
    bus = Bus()
    tracker = AnomalyTracker("q", bus, lambda: 0.0)
    tracker.observe(dataclasses.replace(evaluation(0.1, np.nan), absent=np.array([False, True])))
    gone = (LabelSet({"i": "0"}), LabelSet())
    tracker.observe(dataclasses.replace(evaluation(0.1, np.nan), labels=gone))
    assert [(event.kind, event.facts["labels"]) for event in bus.seen] == [
        ("series.absent", {"i": "1"}),
        ("series.returned", {"i": "1"}),
    ]


def test_a_series_without_labels_is_told() -> None:
    bus = Bus()
    AnomalyTracker("q", bus, lambda: 0.0).observe(dataclasses.replace(evaluation(9.0), labels=(LabelSet(),)))
    assert [event.facts["labels"] for event in bus.seen] == [{}]
