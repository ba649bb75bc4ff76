"""The command line teaches, and its exit codes are 0 fine, 1 found or failed, 2 wrong use."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sidecar.cli.main import main


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, arguments)
    return result.exit_code, result.output


def leaves(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    """The names of every command that does something, below one."""
    if not isinstance(command, click.Group):
        yield path
        return
    with click.Context(command) as context:
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from leaves(below, *path, name)


@pytest.mark.parametrize("path", list(leaves(main)), ids=" ".join)
def test_every_command_shows_by_example_what_it_takes(path: tuple[str, ...]) -> None:
    code, output = run(*path, "--help")
    assert code == 0
    shown = [line.strip() for line in output.splitlines() if line.startswith(f"    pronoia {' '.join(path)}")]
    assert shown, "no example"
    for line in shown:
        name, *arguments = shlex.split(
            re.split(r"\s{2,}| \| ", line)[0]
        )  # What is said beside it, or comes after it.
        assert name == "pronoia"
        command: click.Command = main
        context = click.Context(main)
        while isinstance(command, click.Group):
            below = command.get_command(context, arguments.pop(0))
            assert below is not None
            command, context = below, click.Context(below, parent=context)
        command.make_parser(context).parse_args(arguments)  # Raises where there is no such option.


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


def test_a_command_that_is_spelt_wrong_is_answered_with_those_that_are_alike() -> None:
    code, output = run("incident", "list")
    assert (code, "'incident'; there is incidents" in output) == (2, True)
    code, output = run("frobnicate")
    assert (code, "No such command 'frobnicate'." in output) == (2, True)


def test_database_commands(tmp_path: Path) -> None:
    data = ("--data", str(tmp_path))
    assert run("db", "status", *data)[0] == 1, "there is none yet"
    assert run("db", "migrate", *data)[0] == 0
    code, output = run("db", "status", *data, "--format", "json")
    found = json.loads(output)
    assert (code, found["schema_version"]) == (0, found["schema_latest"])
    assert run("db", "backup", *data, str(tmp_path / "copy.db"))[0] == 0
    code, output = run("db", "backup", *data, str(tmp_path / "unmounted" / "copy.db"))
    assert (code, "unmounted is no folder" in output) == (1, True)
    assert run("db", "restore", *data, str(tmp_path / "copy.db"))[0] == 0
    assert run("rules", "list", *data)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("incidents", "list"), "no database at "),
        (("alerts", "replay", "--dry-run"), "no database at "),
        (("models", "list"), "no models in "),
        (("models", "show", "cdn_errors"), "no models of cdn_errors in "),
    ],
)
def test_a_folder_that_is_not_pronoias_is_said_with_what_names_it(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    code, output = run(*arguments, "--data", str(tmp_path))
    assert code in (1, 2)
    assert words in output
    assert "--data, or its file with --config" in output


def test_init_does_not_overwrite(tmp_path: Path) -> None:
    file = tmp_path / "pronoia.yaml"
    file.write_text("mine")
    code, output = run("init", "--prometheus", "http://127.0.0.1:1", "--out", str(file))
    assert (code, "--force" in output, file.read_text()) == (2, True, "mine")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is full")
def test_a_full_disk_behind_standard_output_is_a_line_and_not_a_traceback() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sidecar", "--help"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "pronoia: [Errno 28] No space left on device\n")


@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1:strict"])
def test_a_name_that_cannot_be_written_as_it_is_is_written_all_the_same(
    encoding: str, tmp_path: Path
) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9 \xe2\x80\x93.csv")).write_text("timestamp,value\n0,1\n60,2\n")
    done = subprocess.run(
        [sys.executable, "-m", "sidecar", "score", "--in", str(tmp_path), "--out", str(tmp_path / "out")],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"0 events in 2 rows" in done.stdout
