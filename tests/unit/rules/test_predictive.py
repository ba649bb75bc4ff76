"""Rules that fire ahead of others: their text, and that promtool takes it."""

from __future__ import annotations

import yaml

from rules.predictive import Ahead, RuleFile, render_ahead
from rules.validate import check


def rendered(*warnings: Ahead) -> RuleFile:
    return render_ahead(
        warnings,
        warn_seconds=14400.0,
        probability=0.5,
        for_seconds=600.0,
        keep_firing_seconds=1800.0,
        severity="warning",
    )


DISK = Ahead("DiskFull", "used / size * 100", ">", 90.0, "3 of 3 warnings came true")


async def test_promtool_takes_the_file_whatever_the_names_are() -> None:
    odd = Ahead('Odd"\\{{Name', 'a{b="c\\"d"}', "<", -1e-9, "{{ not a template }}")
    assert "promtool" in await check(rendered(DISK, odd).text)


def test_the_alert_looks_at_live_times_and_extrapolates_without_them() -> None:
    file = rendered(DISK)
    (rule,) = yaml.safe_load(file.text)["groups"][0]["rules"]
    assert rule["alert"] == "DiskFullAhead"
    live = 'pronoia_threshold_eta_seconds{rule="DiskFull", threshold="> 90", probability="0.5"}'
    assert live in rule["expr"]
    assert "predict_linear((used / size * 100)[1h:1m], 14400) > 90" in rule["expr"]
    assert (rule["for"], rule["keep_firing_for"]) == ("10m", "30m")
    assert rule["labels"]["threshold"] == "> 90"
    assert file.revision in file.text
    assert rendered(DISK) == file
