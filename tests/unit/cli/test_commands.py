"""The command line teaches, and its exit codes are 0 fine, 1 found or failed, 2 wrong use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli.main import COMMANDS, main


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.output


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help(command: str) -> None:
    code, output = run(command, "--help")
    assert code == 0
    assert "Usage:" in output


@pytest.mark.parametrize("form", [(), ("--config",)])
def test_check_config_says_fine_or_lists_every_fault(tmp_path: Path, form: tuple[str, ...]) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("queries: [{name: up, expr: up}]")
    bad.write_text("log: {level: loud}\nservr: {}\n")
    code, output = run("check-config", *form, str(good))
    assert (code, "fine" in output) == (0, True)
    code, output = run("check-config", *form, str(bad))
    assert code == 1
    assert "log.level" in output
    assert "did you mean 'server'" in output
    assert run("check-config")[0] == 2


def test_a_bad_option_is_wrong_use() -> None:
    code, output = run("run", "--prometheus", "localhost:9090")
    assert code == 2
    assert "http://host:9090" in output


def test_database_commands(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    assert run("db", "status", *data)[0] == 1, "there is none yet"
    assert run("db", "migrate", *data)[0] == 0
    code, output = run("db", "status", *data, "--format", "json")
    found = json.loads(output)
    assert (code, found["schema_version"]) == (0, found["schema_latest"])
    assert run("db", "backup", *data, str(tmp_path / "copy.db"))[0] == 0
    assert run("db", "restore", *data, str(tmp_path / "copy.db"))[0] == 0
    assert run("rules", "list", *data)[0] == 0


def test_init_does_not_overwrite(tmp_path: Path) -> None:
    file = tmp_path / "pronoia.yaml"
    file.write_text("mine")
    code, output = run("init", "--prometheus", "http://127.0.0.1:1", "--out", str(file))
    assert (code, "--force" in output, file.read_text()) == (2, True, "mine")
