"""`pronoia run` before it runs: what it tells to paste, where compiled code and temporary files are kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli import run
from sidecar.cli.compiled_code import VARIABLE, keep_compiled_code_beside
from sidecar.cli.doctor_prometheus import examine_settings
from sidecar.cli.main import main
from sidecar.config.model import Config, RulesConfig
from webhooks.doctor import examine


@pytest.mark.parametrize(
    ("stated", "writable", "kept"),
    [
        pytest.param(None, True, None, id="beside the code, as numba does"),
        pytest.param(None, False, "{data}/.numba", id="the code's folder is read-only"),
        pytest.param("/somewhere", False, "/somewhere", id="as stated"),
    ],
)
def test_compiled_code_is_kept_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stated: str | None, writable: bool, kept: str | None
) -> None:
    monkeypatch.setenv(VARIABLE, stated or "")  # So that what is set here is undone.
    if stated is None:
        del os.environ[VARIABLE]
    monkeypatch.setattr(os, "access", lambda *_: writable)
    keep_compiled_code_beside(tmp_path)
    assert os.environ.get(VARIABLE) == (kept and kept.format(data=tmp_path))


def test_temporary_files_are_beside_the_data_where_there_is_no_other_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", "/proc")
    with monkeypatch.context() as nowhere:
        nowhere.setattr(tempfile, "_candidate_tempdir_list", lambda: [os.environ["TMPDIR"]])
        run._have_temporary_files(tmp_path)
        assert tempfile.gettempdir() == str(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", None)
    run._have_temporary_files(tmp_path / "other")
    assert os.environ["TMPDIR"] == str(tmp_path)


def test_the_doctor_has_nothing_to_say_of_neighbours_that_are_set_up_as_the_help_says() -> None:
    shown = CliRunner().invoke(main, ["run", "--help"]).output.partition("  In prometheus.yml:")[2]
    title, *lines = shown.partition("\n\n")[0].splitlines()
    column = title.index("In alert") + len("  In prometheus.yml:")
    prometheus = "\n".join(line[:column] for line in lines).replace("RULES-DIR", "/rules")
    alertmanager = "\n".join(line[column:] for line in lines)
    config = Config(rules=RulesConfig(directory=Path("/rules")))
    assert not list(examine_settings(config, "prometheus", prometheus, {"web.enable-lifecycle": "true"}))
    assert [found.what for found in examine(alertmanager, set())] == []
