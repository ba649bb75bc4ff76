"""What is written as history, read back as OpenMetrics and beside what is served live."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidecar.cli.demo.backfill import BackfillError, openmetrics, write_history
from sidecar.cli.demo.live import render
from sidecar.cli.demo.platform import Platform

ANCHOR = 1_790_000_000.0


def test_history_and_live_page_name_the_same_series_with_the_same_values() -> None:
    platform = Platform(ANCHOR)
    times = np.array([ANCHOR - 60.0, ANCHOR])
    history = "".join(openmetrics(platform, times, platform.values(times)))
    told = {
        (sample.name, tuple(sorted(sample.labels.items())), float(sample.timestamp)): sample.value
        for family in parse_openmetrics(history)
        for sample in family.samples
    }
    live = {
        (sample.name, tuple(sorted(sample.labels.items())), ANCHOR): sample.value
        for family in parse_text(render(platform, ANCHOR))
        for sample in family.samples
    }
    assert len(live) >= 40
    assert {key: told[key] for key in live} == live
    assert len(told) == 2 * len(live)


def test_a_missing_sample_is_left_out() -> None:
    platform = Platform(ANCHOR)
    times = np.array([ANCHOR])
    values = np.full((len(platform.tracks), 1), np.nan)
    values[0] = 1.0
    lines = "".join(openmetrics(platform, times, values)).splitlines()
    (sample,) = [line for line in lines if not line.startswith("#")]
    labels = 'instance="player:8080",job="player",region="eu",service="player"'
    assert sample == f"stream_sessions_active{{{labels}}} 1 1790000000"
    assert lines[-1] == "# EOF"


@pytest.mark.parametrize("at_once", [True, False], ids=["while it is written", "while promtool reads it"])
def test_a_history_that_is_given_up_is_not_waited_for(tmp_path: Path, at_once: bool) -> None:
    promtool = tmp_path / "promtool"
    promtool.write_text(f"#!/bin/sh\necho begun > {tmp_path}/begun\nexec sleep 600\n")
    promtool.chmod(0o755)
    begun = tmp_path / "begun"

    def given_up() -> bool:
        return at_once or begun.exists()

    with pytest.raises(BackfillError, match="given up"):
        write_history(
            Platform(ANCHOR),
            directory=tmp_path,
            tsdb=tmp_path / "tsdb",
            promtool=str(promtool),
            days=0.01,
            given_up=given_up,
        )
    assert begun.exists() != at_once
    assert not (tmp_path / "history.openmetrics").exists()
