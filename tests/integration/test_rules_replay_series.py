"""Adaptation on labelled series in files: noise falls, incidents stay, what chance told of is named."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from sidecar.config.adapt import AdaptConfig
from tools.rules_replay import BY_CHANCE, Replayed, main, read_series, replay, summary

pytestmark = pytest.mark.integration

HOUR = 3_600
START = 1_380_000_000 // HOUR * HOUR
"""In 2013: older than any usual retention."""


def write_series(path: Path, values: np.ndarray, incidents: list[slice]) -> None:
    labels = np.zeros(len(values), dtype=int)
    for hours in incidents:
        labels[hours] = 1
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("timestamp", "value", "label"))
        rows.writerows(zip(START + HOUR * np.arange(len(values)), values.tolist(), labels, strict=True))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(7)
    errors = rng.normal(20, 2, 40 * 24)
    told = [slice(300, 304), slice(700, 704)]
    for hours in told:
        errors[hours.start - 2 : hours.start] = 20  # Nothing fires when it begins.
        errors[hours] += 60
    write_series(tmp_path / "errors.csv", errors, told)
    # Labelled, but nothing can be seen in it: only chance tells of it.
    latency = np.clip(rng.normal(5, 0.5, 40 * 24), 4, 6)
    first_alarm = 500 + int(np.argmax(latency[500:] > np.quantile(latency[:480], 0.95)))
    write_series(tmp_path / "latency.csv", latency, [slice(first_alarm - 20, first_alarm + 1)])
    return tmp_path


async def test_labelled_series_are_quiet_afterwards_and_what_was_seen_is_still_seen(folder: Path) -> None:
    done = await replay(read_series(folder), AdaptConfig(min_history=5 * 86_400), 0.05)
    by_name = {one.series.table.path.stem: one for one in done}
    assert sum(one.comparison.n_after for one in done) < 0.2 * sum(one.comparison.n_before for one in done)
    assert fates(by_name["errors"]) == ["kept"]
    assert fates(by_name["latency"]) == [BY_CHANCE]
    assert summary(folder.name, done)[:3] == (folder.name, "4", "4")


def fates(one: Replayed) -> list[str]:
    return [one.verdict(row) for row in one.comparison.incidents if row.before is not None]


def test_the_command_prints_rules_incidents_and_what_it_comes_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "latency.csv").unlink()
    monkeypatch.setattr("sys.argv", ["rules_replay", str(folder)])
    main()
    told = capsys.readouterr().out
    assert "errors high" in told
    assert "fewer" in told
