"""Mistakes in what `rules audit|plan|backtest|replay` are asked for: told before any server is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main

RULES = "groups: [{name: g, rules: [{alert: A, expr: up > 1}]}]"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(RULES)
    return path


@pytest.mark.parametrize("command", ["audit", "plan", "backtest", "replay"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(("--start", "2026-11-22", "--end", "2026-11-01"), "lies after the end", id="reversed"),
        pytest.param(("--start", "2999-01-01", "--end", "2999-02-01"), "lies in the future", id="future"),
        pytest.param(("--start", "10m", "--step", "1h"), "hardly one step of 3600 s", id="too short"),
    ],
)
def test_a_window_of_nothing_is_refused(
    rules: Path, tmp_path: Path, command: str, options: tuple[str, ...], words: str
) -> None:
    done = asked(command, tmp_path, "--rules", str(rules), *options)
    assert done == (2, done[1])
    assert words in done[1]


@pytest.mark.parametrize("command", ["audit", "plan", "backtest", "replay"])
def test_a_folder_without_rules_is_told_of(tmp_path: Path, command: str) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "own.rules").write_text(RULES)
    code, told = asked(command, tmp_path, "--rules", str(tmp_path / "rules"))
    assert (code, "the files of --rules have no rule" in told) == (2, True)


@pytest.mark.parametrize("options", [("replay",), ("backtest", "--against", "{}")])
def test_nobody_waits_for_a_picture_that_has_no_place(
    rules: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    command, *others = (one.format(rules) for one in options)
    plot = tmp_path / "nowhere" / "a.png"
    code, told = asked(command, tmp_path, "--rules", str(rules), *others, "--plot", str(plot))
    assert code == 2
    assert "there is no folder" in told


def asked(command: str, data: Path, *options: str) -> tuple[int, str]:
    """The exit code and all that was said, of a Prometheus that is not there."""
    given = ["rules", command, "--prometheus", "http://127.0.0.1:1", "--data", str(data), *options]
    done = CliRunner().invoke(main, given)
    return done.exit_code, " ".join(done.output.split())
