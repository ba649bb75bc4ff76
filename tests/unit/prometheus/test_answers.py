"""Answers of the API as values: what a server leaves out, or says null of, is nothing."""

from __future__ import annotations

from sidecar.prometheus.answers import Metadata, metadata_of, targets_of


def test_a_metric_is_what_its_first_target_says() -> None:
    data = b'{"b": [{"type": "gauge", "help": "B", "unit": "s"}, {"type": "counter"}], "a": [{}], "c": []}'
    assert metadata_of(data) == [Metadata("a", "unknown", "", ""), Metadata("b", "gauge", "B", "s")]


def test_no_targets_are_none() -> None:
    assert targets_of(b'{"activeTargets": null}') == targets_of(b"{}") == []
