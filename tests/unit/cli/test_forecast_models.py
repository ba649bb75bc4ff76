"""`pronoia models compare`: the table, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.cli.main import main
from tests.unit.cli.test_forecast import write

FAST = ("--model", "seasonal_naive", "--model", "pool", "--origins", "2", "--horizon", "6h")


def compare(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["models", "compare", *map(str, arguments)])


def test_the_table_has_a_line_a_model_and_the_best_is_first(tmp_path: Path) -> None:
    result = compare("--in", write(tmp_path / "x.csv"), *FAST)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["model", "ratio", "MASE", "MSIS", "covered", "s/fit", "forecasts"]
    assert [line.split()[0] for line in lines[1:]] == ["pool", "seasonal_naive"]


def test_json_for_programs(tmp_path: Path) -> None:
    rows = json.loads(compare("--in", write(tmp_path / "x.csv"), *FAST, "--format", "json").stdout)
    assert {row["model"] for row in rows} == {"pool", "seasonal_naive"}
    assert all(row["forecasts"] == 2 and row["mase"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        pytest.param(["--in", "{x}", "--model", "oracle"], 2, "known: pool", id="unknown model"),
        pytest.param([], 2, "give either --in", id="no series"),
        pytest.param(["--in", "{x}", "--horizon", "30d"], 1, "long enough", id="too short for the horizon"),
        pytest.param(["--in", "{bad}"], 1, "bad.csv", id="no series in the file"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    path = write(tmp_path / "x.csv")
    result = compare(*(a.format(x=path, bad=bad) for a in arguments))
    assert result.exit_code == code
    assert says in result.output
