"""`pronoia score` as people and programs call it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from sidecar.cli.main import main
from sidecar.series import LabelSet, SeriesBatch
from sidecar.tables import iso_times, write_table


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["score", *map(str, arguments)])


@pytest.fixture
def series(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    values = 100 + rng.normal(0, 2, 600)
    values[500:510] += 80
    times = (1_790_000_000 + 60 * np.arange(600)) * 1000
    write_table(tmp_path / "a.csv", {"timestamp": iso_times(times.astype(np.int64)), "value": values})
    return tmp_path / "a.csv"


def rows(text: str) -> list[list[str]]:
    return [line.split(",") for line in text.strip().splitlines()]


def test_one_row_for_each_row_and_the_incident_flagged(series: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert run("--in", series, "--out", out).exit_code == 0
    header, *body = rows(out.read_text())
    assert header == ["timestamp", "value", "yhat", "yhat_lower", "yhat_upper", "anomaly_score", "reason"]
    assert len(body) == 600
    scores = np.array([float(row[5] or "nan") for row in body])
    assert np.isnan(scores[:20]).all()
    assert (scores[500:510] > 1).all()
    assert (scores[100:500] < 1).all()
    assert [at for at, row in enumerate(body) if row[6]] == np.flatnonzero(scores > 1).tolist()
    assert {row[6] for row in body} == {"", "outside"}


def test_a_flag_inside_the_band_names_the_shape_that_raised_it(tmp_path: Path) -> None:
    values = 100 + np.random.default_rng(0).normal(0, 2, 1200)
    values[1000:1060] = values[1000]
    times = (1_790_000_000 + 60 * np.arange(1200)) * 1000
    write_table(tmp_path / "a.csv", {"timestamp": iso_times(times.astype(np.int64)), "value": values})
    assert run("--in", tmp_path / "a.csv", "--out", tmp_path / "b.csv").exit_code == 0
    _, *body = rows((tmp_path / "b.csv").read_text())
    assert {row[6] for row in body[1010:1060]} == {"stands_still"}
    for row in body[1010:1060]:
        assert float(row[3]) < float(row[1]) < float(row[4])
        assert float(row[5]) > 1


def test_without_out_it_writes_to_standard_output(series: Path) -> None:
    assert len(rows(run("--in", series).stdout)) == 601


def test_a_program_is_told_the_events(series: Path, tmp_path: Path) -> None:
    found = json.loads(run("--in", series, "--out", tmp_path / "o.csv", "--format", "json").stdout)
    assert found["rows"] == 600
    assert [event["rows"] for event in found["events"]] == [10]


def test_a_directory_in_one_process_with_a_bad_file_named(series: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("timestamp,value\n0,1\n60,x\n")
    result = run("--in", tmp_path, "--out", tmp_path / "scored")
    assert result.exit_code == 1
    assert "bad.csv:3: value 'x' is not a number" in result.stderr
    assert len(rows((tmp_path / "scored" / "a.csv").read_text())) == 601


def test_what_an_earlier_run_wrote_below_is_no_series(series: Path, tmp_path: Path) -> None:
    for _ in range(2):
        result = run("--in", tmp_path, "--out", tmp_path / "scored")
        assert [line.split(":")[0] for line in result.stdout.splitlines()] == [str(series)]


@pytest.mark.parametrize("n_series", [0, 2])
def test_a_query_s_series_are_named_as_in_promql(
    n_series: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [LabelSet({"__name__": "up", "job": name}) for name in "ab"][:n_series]
    times = (1_790_000_000_000 + 300_000 * np.arange(50)).astype(np.int64)
    batch = SeriesBatch("up", tuple(labels), times, np.ones((n_series, 50)))
    monkeypatch.setattr("sidecar.cli.score.read_query", lambda history, config_path: batch)
    result = run("--query", "up", "--out", tmp_path / "scored")
    if n_series:
        assert result.stdout.splitlines()[1] == (
            f'up{{job="b"}}: 0 events in 50 rows ({tmp_path}/scored/0001.csv)'
        )
    else:
        assert (result.exit_code, result.stdout) == (1, "")
        assert "'up' matched no series" in result.stderr


def test_a_row_that_comes_late_is_named_and_kept_without_a_score(tmp_path: Path) -> None:
    path = tmp_path / "late.csv"
    body = [f"{60 * i},{i % 7}" for i in range(300)]
    body.insert(100, "60,5")
    path.write_text("timestamp,value\n" + "\n".join(body) + "\n")
    result = run("--in", path)
    assert result.exit_code == 0
    assert f"{path}:102: is older than a row before it" in result.stderr
    assert rows(result.stdout)[101][5] == ""


def test_rows_that_come_several_a_second_are_scored(tmp_path: Path) -> None:
    path = tmp_path / "load-test.csv"
    body = "".join(f"{1_790_000_000 + i / 4},{90 if i == 280 else 50 + i % 3}\n" for i in range(300))
    path.write_text("timestamp,value\n" + body)
    result = run("--in", path)
    assert result.exit_code == 0, result.output
    scores = [float(row[5] or 0) for row in rows(result.stdout)[1:]]
    assert int(np.argmax(scores)) == 280
    assert scores[280] > 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "either --in"),
        (["--in", "{a}", "--query", "up"], "either --in"),
        (["--in", "{a}", "--min", "5", "--max", "5"], "is not below"),
        (["--in", "{folder}"], "give --out DIRECTORY"),
        (["--in", "{a}", "--false-alarms", "0"], "false-alarms"),
        (["--in", "{a}", "--out", "{a}"], "is the file that --in reads"),
        (["--in", "{folder}", "--out", "{folder}/."], "is the directory that --in reads"),
    ],
    ids=[
        "nothing",
        "both",
        "bounds",
        "directory to stdout",
        "no budget",
        "over itself",
        "folder over itself",
    ],
)
def test_wrong_use(series: Path, arguments: list[str], words: str) -> None:
    result = run(*[a.format(a=series, folder=series.parent) for a in arguments])
    assert result.exit_code == 2
    assert words in result.stderr
