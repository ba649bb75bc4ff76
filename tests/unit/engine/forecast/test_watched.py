"""History of watched series: taken column by column, kept over a restart, forecast oldest first."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.config.known import EventConfig
from sidecar.engine.forecast.crossing import Threshold
from sidecar.engine.forecast.watched import ROWS_PER_SERIES, WatchedSeries
from sidecar.engine.forecast.watched_file import history_path, load, save
from sidecar.errors import ModelError
from sidecar.series import FloatArray, LabelSet, SeriesBatch

STEP_MS = 300_000
START_MS = 2900 * 7 * 86_400_000
A, B = LabelSet({"s": "a"}), LabelSet({"s": "b"})


def watched(
    history_steps: int = 400, clock_step: float = 0.0, horizon_seconds: float = 86400.0
) -> WatchedSeries:
    ticks = iter(np.arange(1e6) * clock_step)
    return WatchedSeries(
        step_seconds=300.0,
        history_seconds=history_steps * 300.0,
        horizon_seconds=horizon_seconds,
        clock=lambda: float(next(ticks)),
    )


def batch(first: int, rows: dict[LabelSet, FloatArray]) -> SeriesBatch:
    n = len(next(iter(rows.values())))
    times = (np.arange(n, dtype=np.int64) + first) * STEP_MS + START_MS
    return SeriesBatch("q", tuple(rows), times, np.stack(list(rows.values())))


RAMP = np.arange(300) * 0.1
FLAT = np.full(300, 5.0)
AT_40 = Threshold(40.0, above=True)


def test_rows_come_and_go_and_columns_are_taken_once() -> None:
    found = watched()
    found.watch([AT_40])
    found.take(batch(0, {A: RAMP[:200]}))
    found.take(batch(150, {A: RAMP[150:], B: FLAT[150:]}))
    assert found.work(10.0) == 0
    by_label = {labels: crossing.eta_seconds(0.5) for labels, _, crossing in found.crossings()}
    assert by_label[A] == pytest.approx(101 * 300, rel=0.1)
    assert by_label[B] == np.inf
    found.take(batch(300, {B: np.full(3, 5.0)}))
    assert {labels for labels, _, _ in found.crossings()} == {B}


def pods(generation: int, n: int = 50) -> list[LabelSet]:
    return [LabelSet({"pod": f"{generation}-{i}"}) for i in range(n)]


def test_the_room_for_pods_that_come_and_go_is_bounded_by_those_that_live_at_once() -> None:
    found = watched(history_steps=600)
    found.watch([AT_40])
    most = 0
    for hour in range(40):
        alive = {A: np.arange(hour * 12, hour * 12 + 12) * 0.01}
        found.take(batch(hour * 12, alive | {pod: np.full(12, 5.0) for pod in pods(hour)}))
        most = max(most, len(found._values))
    assert most <= ROWS_PER_SERIES * 51
    assert found.work(10.0) == 0
    assert [labels for labels, _, _ in found.crossings()] == [A], "the pods are too young for it"
    row = found._index.labels.index(A)
    assert np.isfinite(found._values[row]).sum() == 480, "who lives on has its whole history"
    found.take(batch(480, alive | {pod: np.full(12, 5.0) for pod in pods(38)}))
    row = found._index.labels.index(pods(38)[0])
    assert np.isfinite(found._values[row]).sum() == 24, "and so has who paused for an hour"


def test_an_outage_of_everything_forgets_nothing() -> None:
    found = watched()
    found.take(batch(0, {pod: np.full(200, 5.0) for pod in pods(0, 300)}))
    minutes = np.arange(200, 260, dtype=np.int64) * STEP_MS + START_MS
    found.take(SeriesBatch("q", (), minutes, np.empty((0, 60))))
    assert found.n_series == 300
    found.take(batch(260, {pod: np.full(3, 5.0) for pod in pods(0, 300)}))
    assert (np.isfinite(found._values).sum(axis=1) == 203).all()


def test_who_ended_before_the_last_day_of_a_long_past_takes_no_room() -> None:
    found = watched(history_steps=2000)
    alive = {A: np.full(2000, 5.0)}
    ended = {pod: np.where(np.arange(2000) < 1500, 5.0, np.nan) for pod in pods(0, 200)}
    found.take(batch(0, alive | ended))
    assert (found.n_series, len(found._values)) == (1, 1)


def test_what_there_is_no_time_for_comes_first_the_next_time() -> None:
    found = watched(clock_step=1.0)
    found.watch([AT_40])
    found.take(batch(0, {A: RAMP, B: FLAT}))
    assert found.work(0.5) == 1
    assert [labels for labels, _, _ in found.crossings()] == [A]
    assert found.work(0.5) == 0
    assert [labels for labels, _, _ in found.crossings()] == [A, B]


def test_other_thresholds_are_forecast_anew() -> None:
    found = watched()
    found.watch([AT_40])
    found.take(batch(0, {A: RAMP}))
    found.work(10.0)
    found.watch([Threshold(60.0, above=True), AT_40])
    assert found.crossings() == []
    found.work(10.0)
    assert [n for _, n, _ in found.crossings()] == [0, 1]


def test_history_survives_a_restart(tmp_path: Path) -> None:
    found = watched()
    found.take(batch(0, {A: RAMP, B: FLAT}))
    path = history_path(tmp_path, "disk", 300.0)
    save(found, path)
    again = watched()
    load(again, path)
    assert again.last_ms == found.last_ms
    for one in (found, again):
        one.watch([AT_40])
        one.work(10.0)
    assert [c.eta_seconds(0.5) for _, _, c in again.crossings()] == [
        c.eta_seconds(0.5) for _, _, c in found.crossings()
    ]


@pytest.mark.parametrize(
    ("horizon_seconds", "kept"), [(86400.0, True), (7200.0, False)], ids=["the same", "another horizon"]
)
def test_selections_survive_a_restart(tmp_path: Path, horizon_seconds: float, kept: bool) -> None:
    found = watched()
    found.watch([AT_40])
    found.take(batch(0, {A: RAMP, B: FLAT}))
    found.work(10.0)
    path = history_path(tmp_path, "disk", 300.0)
    save(found, path)
    again = watched(horizon_seconds=horizon_seconds)
    load(again, path)
    again.watch([AT_40])
    again.take(batch(300, {A: np.arange(300, 312) * 0.1}))
    again.work(10.0)
    row = 0
    selected = found._known[row].chosen
    after = again._known[row].chosen
    assert selected is not None
    assert after is not None
    assert (after.made_at == selected.made_at) is kept
    assert again.notes == () if kept else "wanted are 24 of 300 s" in again.notes[0]


@pytest.mark.parametrize("damage", [b"", b"no zip", b"PK\x03\x04cut"], ids=["empty", "foreign", "cut"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "x.history"
    path.write_bytes(damage)
    with pytest.raises(ModelError, match="cannot be read"):
        load(watched(), path)


DAY_STEPS = 288
WEEK = np.arange(7 * DAY_STEPS)
CALM = 20.0 + 5.0 * np.sin(2 * np.pi * WEEK / DAY_STEPS) + np.sin(WEEK * 1.7)


def event(start_step: int, hours: float, **facts: Any) -> EventConfig:
    start = datetime.fromtimestamp((start_step * STEP_MS + START_MS) / 1000, UTC)
    return EventConfig(name="e", start=start, duration=hours * 3600.0, **facts)


def eta_of(values: FloatArray, *events: EventConfig) -> float:
    found = watched(history_steps=7 * DAY_STEPS)
    found.watch([AT_40])
    found.announce(events, None)
    found.take(batch(0, {A: values}))
    found.work(10.0)
    ((_, _, crossing),) = found.crossings()
    return crossing.eta_seconds(0.5)


def test_a_release_that_is_known_to_come_is_a_threshold_ahead() -> None:
    coming = event(len(CALM) + 24, 2.0, uplift=3.0)
    assert eta_of(CALM) == np.inf
    assert eta_of(CALM, coming) == pytest.approx(2 * 3600.0, abs=600.0)
    assert eta_of(CALM, event(len(CALM) + 24, 2.0, uplift=3.0, match={"s": "b"})) == np.inf


def test_a_release_under_way_is_not_multiplied_twice() -> None:
    # It began an hour ago and lasts three more; 1.5 times the usual stays below 40.
    began = len(CALM) - 12
    values = CALM.copy()
    values[began:] *= 1.5
    assert eta_of(values, event(began, 4.0, uplift=1.5)) == np.inf


def test_a_deployment_is_expected_to_cost_what_earlier_ones_did() -> None:
    values = CALM.copy()
    earlier = [2 * DAY_STEPS + 100, 4 * DAY_STEPS + 100]
    for start in earlier:
        values[start : start + 12] *= 2.5
    past = [event(start, 1.0, kind="deployment") for start in earlier]
    assert eta_of(values, *past) == np.inf
    planned = event(len(values) + 36, 1.0, kind="deployment")
    assert eta_of(values, *past, planned) == pytest.approx(3 * 3600.0, abs=600.0)


@pytest.mark.parametrize("size", [1e6, 1.7e308], ids=["a glitch", "the largest double"])
def test_one_sample_that_is_no_measurement_announces_nothing(size: float) -> None:
    rng = np.random.default_rng(2)
    at = np.arange(900)
    values = 50 + 20 * np.sin(2 * np.pi * at / 288) + rng.normal(0, 1, 900)
    values[820] = size
    found = watched(900)
    found.watch([Threshold(90.0, above=True)])
    found.take(batch(0, {A: values}))
    assert found.work(10.0) == 0
    ((_, _, crossing),) = found.crossings()
    assert crossing.probability.max() < 0.5


@pytest.mark.parametrize(
    ("threshold", "value"), [("< 0.9", 0.9), ("> 0.1", 0.1), ("< 0.7", 0.7), ("< 16777217", 16777217.0)]
)
def test_what_stands_at_its_threshold_is_not_beyond_it(threshold: str, value: float, tmp_path: Path) -> None:
    """Nine of ten instances are up: in single precision that is less than 0.9."""
    found, restored = watched(), watched()
    found.take(batch(0, {A: np.full(30, value)}))
    save(found, tmp_path / "history")
    load(restored, tmp_path / "history")
    for one in (found, restored):
        one.watch([Threshold.parse(threshold)])
        one.work(10.0)
        assert [crossing.probability.max() for _, _, crossing in one.crossings()] == [0.0]


def test_a_history_that_was_saved_without_its_newest_samples_is_taken() -> None:
    found, restored = watched(), watched()
    found.take(batch(0, {A: RAMP, B: FLAT}))
    labels, arrays = found.state()
    del arrays["newest"]
    restored.restore(labels, arrays)
    for one in (found, restored):
        one.watch([Threshold(4.0, above=True)])
        one.work(10.0)
    assert [c.eta_seconds(0.5) for _, _, c in restored.crossings()] == [0.0, 0.0]
