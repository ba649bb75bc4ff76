"""Where compiled code is kept, as `pronoia run` decides before numba is imported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sidecar.cli import run


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
    monkeypatch.delenv(run.CACHE_VARIABLE, raising=False)
    if stated is not None:
        monkeypatch.setenv(run.CACHE_VARIABLE, stated)
    monkeypatch.setattr(os, "access", lambda *_: writable)
    run._keep_compiled_code(tmp_path)
    assert os.environ.get(run.CACHE_VARIABLE) == (kept and kept.format(data=tmp_path))
    monkeypatch.delenv(run.CACHE_VARIABLE, raising=False)
