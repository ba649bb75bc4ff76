"""`pronoia forecast`: rows, formats, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sidecar.cli.main import main

N = 24 * 6


def write(path: Path, values: list[str] | None = None) -> Path:
    rng = np.random.default_rng(2)
    wave = 10 + np.sin(np.arange(N) / 24 * 2 * np.pi) + rng.normal(0, 0.1, N)
    values = [f"{v:.4f}" for v in wave] if values is None else values
    rows = [f"{1_790_000_000 + 3600 * i},{v}" for i, v in enumerate(values)]
    path.write_text("timestamp,value\n" + "\n".join(rows) + "\n")
    return path


def forecast(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["forecast", *map(str, arguments)])


def test_a_file_becomes_one_row_a_step(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    result = forecast("--in", write(tmp_path / "x.csv"), "--horizon", "12h", "--level", "90", "--out", out)
    assert result.exit_code == 0, result.output
    lines = out.read_text().splitlines()
    assert lines[0] == "timestamp,yhat,yhat_lower,yhat_upper"
    assert len(lines) == 13
    time, yhat, lower, upper = lines[1].split(",")
    assert time == "2026-09-27T14:13:20Z"
    assert float(lower) <= float(yhat) <= float(upper)


def test_without_out_the_rows_are_printed(tmp_path: Path) -> None:
    result = forecast("--in", write(tmp_path / "x.csv"), "--steps", "2")
    assert result.stdout.splitlines()[0] == "timestamp,yhat,yhat_lower,yhat_upper"
    assert len(result.stdout.splitlines()) == 3


def test_json_says_what_was_done(tmp_path: Path) -> None:
    body = json.loads(forecast("--in", write(tmp_path / "x.csv"), "--steps", "2", "--format", "json").stdout)
    assert body["steps"] == 2
    assert body["kind"] == "usual"
    assert len(body["forecast"]) == 2
    assert 0 < sum(body["rules"].values()) <= 1.01


def test_a_directory_is_forecast_file_by_file_and_a_bad_one_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder / "a.csv")
    write(folder / "b.csv", [""] * 5)
    (folder / "c.csv").write_text("when,what\n1,2\n")
    result = forecast("--in", folder, "--out", tmp_path / "out", "--format", "json")
    assert result.exit_code == 1
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.csv"]
    failed = json.loads(result.stdout)["failed"]
    assert [Path(f["series"]).name for f in failed] == ["b.csv", "c.csv"]
    assert "no value at all" in failed[0]["reason"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param([], "give either --in", id="nothing to forecast"),
        pytest.param(["--in", "{x}", "--query", "up"], "give either --in", id="two things to forecast"),
        pytest.param(["--in", "{x}", "--horizon", "soon"], "is not a duration", id="no duration"),
        pytest.param(["--in", "{x}", "--horizon", "0s"], "no time ahead", id="no time"),
        pytest.param(["--in", "{x}", "--level", "100"], "--level", id="a level of all"),
        pytest.param(["--in", "{x}", "--min", "3", "--max", "2"], "is not below", id="bounds crossed"),
        pytest.param(["--in", "{dir}"], "--out DIRECTORY", id="a directory to standard output"),
        pytest.param(["--in", "{x}", "--out", "{dir}"], "is a directory", id="a file into a directory"),
        pytest.param(["--query", "up", "--start", "later"], "neither ISO 8601", id="no time to start"),
        pytest.param(
            ["--query", "up", "--start", "20", "--end", "10"], "after the end", id="start after end"
        ),
    ],
)
def test_wrong_use_ends_with_two_and_a_reason(tmp_path: Path, arguments: list[str], says: str) -> None:
    path = write(tmp_path / "x.csv")
    result = forecast(*(a.format(x=path, dir=tmp_path) for a in arguments))
    assert result.exit_code == 2
    assert says in result.output


def test_a_file_that_cannot_be_read_ends_with_one(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("timestamp,value\n1,fast\n")
    result = forecast("--in", path)
    assert result.exit_code == 1
    assert "x.csv:2" in result.output


def test_a_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "x.png"
    result = forecast("--in", write(tmp_path / "x.csv"), "--steps", "5", "--plot", picture)
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("threshold", "code", "says"),
    [
        pytest.param("> 10.5", 1, "in ", id="crossed each day"),
        pytest.param("> 100", 0, "not within the horizon", id="never"),
    ],
)
def test_a_threshold_that_is_crossed_ends_with_one(
    tmp_path: Path, threshold: str, code: int, says: str
) -> None:
    path = write(tmp_path / "x.csv")
    result = forecast("--in", path, "--horizon", "24h", "--threshold", threshold, "--format", "json")
    assert result.exit_code == code
    assert says in result.stderr
    crossing = json.loads(result.stdout)["crossing"]
    assert (crossing["at"] is None) == (code == 0)
    folder = forecast("--in", tmp_path, "--out", tmp_path / "out", "--threshold", threshold)
    assert folder.exit_code == code


@pytest.mark.parametrize("scenario", [(), ("--scenario", "1x for 1h")], ids=["as it is", "what if"])
def test_a_disk_that_has_just_begun_to_fill_is_announced(tmp_path: Path, scenario: tuple[str, ...]) -> None:
    # Flat for days, and 4 an hour since five hours: at 90 in 7.5 h. A scenario is about the usual only.
    values = [40.0] * (N - 6) + [40.0 + 4.0 * n for n in range(6)]
    path = write(tmp_path / "disk.csv", [f"{v:.2f}" for v in values])
    arguments = ("--in", path, "--horizon", "24h", "--threshold", "> 90", "--format", "json", *scenario)
    crossing = json.loads(forecast(*arguments).stdout)["crossing"]
    if scenario:
        assert crossing["at"] is None
    else:
        assert crossing["in_seconds"] == pytest.approx(7.5 * 3600, rel=0.4)


def test_a_series_with_too_many_steps_does_not_keep_others_from_being_forecast(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rows = [f"{1_790_000_000 + i},{i % 7}" for i in range(60)]
    (folder / "a.csv").write_text("timestamp,value\n" + "\n".join(rows) + "\n")
    write(folder / "b.csv")
    result = forecast("--in", folder, "--horizon", "2d", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "172800 steps of 1s are too many" in result.stderr
    assert (tmp_path / "out" / "b.csv").exists()
    assert "1 of 2 series forecast" in result.stderr


@pytest.mark.parametrize(
    ("horizon", "says"),
    [
        pytest.param("2d", "", id="enough"),
        pytest.param("9d", "is little for 9d ahead; from 18d on", id="little"),
    ],
)
def test_a_past_that_is_too_short_for_the_horizon_is_named(tmp_path: Path, horizon: str, says: str) -> None:
    result = forecast("--in", write(tmp_path / "x.csv"), "--horizon", horizon, "--out", tmp_path / "y.csv")
    assert result.exit_code == 0, result.output
    assert says in result.stderr
    assert bool(says) is bool(result.stderr)


def test_a_scenario_asks_for_more_replicas(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv")
    asked = ("--in", path, "--format", "json", "--per-replica", "2")
    plain = json.loads(forecast(*asked).stdout)["peak"]
    busy = json.loads(forecast(*asked, "--scenario", "3x for 30h").stdout)["peak"]
    assert plain["replicas"] == 6
    assert busy["upper"] == pytest.approx(3 * plain["upper"])
    assert busy["replicas"] >= 16
    longer = forecast(*asked, "--scenario", "3x for 30h")
    assert "lasts longer than the forecast; a --horizon of 1d6h holds all of it" in longer.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(("--threshold", "90"), "write '> 90'", id="no direction"),
        pytest.param(("--scenario", "a lot"), "write '3.5x for 8h'", id="no scenario"),
        pytest.param(("--scenario", "2x for 8h in 2d"), "a --horizon of 2d8h", id="after the forecast's end"),
        pytest.param(("--per-replica", "0"), "--per-replica", id="a replica that bears nothing"),
    ],
)
def test_wrong_questions_end_with_two(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    result = forecast("--in", write(tmp_path / "x.csv"), *arguments)
    assert result.exit_code == 2
    assert says in result.output


def test_the_peak_is_set_against_what_there_is(tmp_path: Path) -> None:
    result = forecast("--in", write(tmp_path / "x.csv"), "--capacity", "20", "--format", "json")
    assert result.exit_code == 0, result.output
    peak = json.loads(result.stdout)["peak"]
    assert peak["headroom"] == pytest.approx(20 - peak["upper"])
    assert f"headroom {peak['headroom']:g}" in result.stderr


def test_events_of_the_configuration_multiply_the_forecast(tmp_path: Path) -> None:
    source, config = write(tmp_path / "x.csv"), tmp_path / "pronoia.yaml"
    event = {"name": "sale", "start": "2026-09-27T16:00:00Z", "duration": "2h", "uplift": 4.0}
    elsewhere = {**event, "match": {"region": "eu"}}
    usual = json.loads(forecast("--in", source, "--horizon", "6h", "--format", "json").stdout)["forecast"]
    config.write_text(json.dumps({"events": [event, elsewhere]}))
    arguments = ("--in", source, "--horizon", "6h", "--format", "json", "--config", config)
    told = json.loads(forecast(*arguments).stdout)["forecast"]
    ratios = [b["yhat"] / a["yhat"] for a, b in zip(usual, told, strict=True)]
    assert ratios == pytest.approx([1, 1, 4, 4, 1, 1])


def test_a_history_is_not_replaced_by_its_forecast(tmp_path: Path) -> None:
    history = write(tmp_path / "x.csv")
    before = history.read_text()
    for source, target in ((history, history), (tmp_path, tmp_path / ".")):
        result = forecast("--in", source, "--steps", "2", "--out", target)
        assert result.exit_code == 2
        assert "that --in reads" in result.stderr
    assert history.read_text() == before
