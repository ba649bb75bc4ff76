"""Alerts of the past become episodes and incidents, and never replace what was received."""

from __future__ import annotations

import json
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.cli.alerts import alerts
from sidecar.cli.incidents import incidents
from sidecar.series import LabelSet, SeriesBatch
from tests.unit.webhooks.deliveries import EPOCH, T0, T1, T2, alert, body
from webhooks.reconcile.history import AlertRuns, from_lines, from_series, unknown

NAN = float("nan")
STEP = 60
LABELS = {"__name__": "ALERTS", "alertname": "Down", "alertstate": "firing", "service": "cart"}


def spans(values: list[float]) -> list[tuple[int, int]]:
    """Start and end of each episode, in steps."""
    times = EPOCH // 10**6 + np.arange(len(values), dtype=np.int64) * STEP * 1000
    batch = SeriesBatch("x", (LabelSet(LABELS),), times, np.array([values]))
    step_ns = STEP * 10**9
    return [
        ((one.starts_at_ns - EPOCH) // step_ns, ((one.ends_at_ns or 0) - EPOCH) // step_ns)
        for one in from_series(batch)
    ]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        pytest.param([NAN, 1, 1, NAN, NAN, NAN], [(1, 3)], id="one"),
        pytest.param([1, NAN, 1, NAN, NAN, NAN], [(0, 3)], id="a late scrape is no end"),
        pytest.param([1, NAN, NAN, 1, NAN, NAN], [(0, 1), (3, 4)], id="two"),
        pytest.param([NAN, NAN, 1, 1, 1, 1], [], id="what fires still is left out"),
        pytest.param([NAN] * 4, [], id="none"),
    ],
)
def test_series_become_episodes(values: list[float], found: list[tuple[int, int]]) -> None:
    assert spans(values) == found


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([NAN, 1.0]), min_size=3, max_size=40),
    st.lists(st.integers(2, 9), min_size=1, max_size=40),
)
def test_a_range_in_parts_is_as_the_whole(values: list[float], sizes: list[int]) -> None:
    times = EPOCH // 10**6 + np.arange(len(values), dtype=np.int64) * STEP * 1000
    whole = SeriesBatch("x", (LabelSet(LABELS),), times, np.array([values]))
    runs, first = AlertRuns(), 0
    for size in cycle(sizes):
        part = slice(first, first + size)
        here = np.array([values[part]])
        there = bool(np.isfinite(here).any())  # A range has no series of an alert that does not fire in it.
        runs.take(SeriesBatch("x", (LabelSet(LABELS),) if there else (), times[part], here[: int(there)]))
        first += size
        if first >= len(values):
            break
    assert runs.episodes() == from_series(whole)


def test_labels_and_fingerprint_are_those_of_the_alert() -> None:
    times = EPOCH // 10**6 + np.arange(4, dtype=np.int64) * 1000
    (one,) = from_series(SeriesBatch("x", (LabelSet(LABELS),), times, np.array([[1, NAN, NAN, NAN]])))
    assert one.labels == {"alertname": "Down", "service": "cart"}
    assert one.fingerprint == LabelSet(one.labels).fingerprint()
    assert one.state == "resolved"


def lines() -> bytes:
    first = [alert("DbDown", service="db"), alert("Errors", service="web"), alert("Stays", service="x")]
    ends = [alert("DbDown", service="db", ends=T1), alert("Errors", service="web", ends=T1)]
    rows = [(T0, body(*first)), (T1, body(*ends)), (T2, b"{}")]
    return b"".join(
        json.dumps({"received_at": at, "payload": json.loads(data)}).encode() + b"\n" for at, data in rows
    )


def test_recorded_webhooks_become_episodes() -> None:
    complaints: list[str] = []
    found = from_lines(lines().splitlines(), warn=complaints.append)
    assert sorted(one.labels["alertname"] for one in found) == ["DbDown", "Errors"]
    assert [complaint.partition(":")[0] for complaint in complaints] == ["line 3"]


def test_what_overlaps_something_stored_is_known() -> None:
    (one, *_) = from_lines(lines().splitlines())
    assert unknown([one], [one]) == []
    assert unknown([one], []) == [one]


def test_import_stores_incidents_once(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.jsonl"
    file.write_bytes(lines())
    data = ["--data", str(tmp_path / "data")]
    again = [CliRunner().invoke(alerts, ["import", *data, "--in", str(file)]) for _ in range(2)]
    assert "2 alerts stored in 1 incidents, 0 known already" in again[0].output
    assert "0 alerts stored in 0 incidents, 2 known already" in again[1].output
    (one,) = json.loads(CliRunner().invoke(incidents, ["list", *data, "--format", "json"]).output)
    assert (one["state"], one["n_episodes"]) == ("resolved", 2)


def test_of_alerts_that_all_fire_still_it_is_said_why_none_is_stored(tmp_path: Path) -> None:
    file = tmp_path / "webhooks.jsonl"
    file.write_bytes(lines().splitlines()[0])
    told = CliRunner().invoke(alerts, ["import", "--data", str(tmp_path / "data"), "--in", str(file)])
    assert (told.exit_code, "left to Alertmanager" in told.output) == (0, True)
