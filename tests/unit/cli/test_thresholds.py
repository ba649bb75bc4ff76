"""`pronoia thresholds backtest`: what is asked for by a wrong name, and where the rules are written."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from sidecar.cli.thresholds import _refuse_unknown, _write
from sidecar.engine.forecast.crossing import Threshold
from sidecar.engine.forecast.replay import Warnings
from sidecar.loop.forecast_trials import Terms, Trial


@pytest.mark.parametrize(
    ("name", "hint"), [("DiskFul", "there is DiskFull"), ("Frobnicated", "the server's page /rules")]
)
def test_a_rule_that_is_not_loaded_is_refused_before_any_is_tried(name: str, hint: str) -> None:
    known = {"DiskFull", "QueueLong"}
    _refuse_unknown(["QueueLong"], known)
    with pytest.raises(click.BadParameter, match=hint):
        _refuse_unknown(["QueueLong", name], known)


def test_the_folder_of_the_written_rules_is_made(tmp_path: Path) -> None:
    out = tmp_path / "rules" / "pronoia-ahead.rules.yaml"
    trial = Trial("DiskFull", "disk_used", Threshold(90.0, above=True), 1, Warnings(1, 1, 1, (3600.0,)))
    terms = Terms(300.0, 14 * 86400.0, 4 * 3600.0, 0.5, 600.0, 10)
    _write(out, [trial], terms, 0.5, "warning")
    assert "DiskFullAhead" in out.read_text()
