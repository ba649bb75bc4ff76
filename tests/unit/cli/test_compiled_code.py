"""A command works for a service's user: numba finds a place for what it compiles, or is given one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sidecar.cli.compiled_code import VARIABLE, have_compiled_code_kept


@pytest.fixture(autouse=True)
def undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is stated at first, and what is set here goes again."""
    monkeypatch.setenv(VARIABLE, "")
    del os.environ[VARIABLE]


@pytest.mark.parametrize(
    ("writable", "given"),
    [
        pytest.param("code home", False, id="beside the code"),
        pytest.param("home", False, id="in the home"),
        pytest.param("", True, id="nowhere"),
    ],
)
def test_a_folder_is_given_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, writable: str, given: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        os, "access", lambda path, _: ("home" if Path(path) == tmp_path else "code") in writable.split()
    )
    have_compiled_code_kept()
    assert (VARIABLE in os.environ) == given
    if given:
        folder = Path(os.environ[VARIABLE])
        assert folder.stat().st_mode & 0o077 == 0, "nobody else may write what is run"
        folder.rmdir()


def test_a_home_that_nobody_knows_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a uid without an account: `~` stays as it is."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(os, "access", lambda path, _: "sidecar" not in str(path))
    have_compiled_code_kept()
    Path(os.environ[VARIABLE]).rmdir()
