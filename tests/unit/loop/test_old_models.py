"""Models of queries that nobody watches are kept for a while, and not for ever."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sidecar.loop.old_models import KEPT_SECONDS, remove_old_models

NOW = 1_790_000_000.0
OLD, YOUNG = NOW - KEPT_SECONDS - 60, NOW - KEPT_SECONDS + 60


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name, at in {
        "watched.model": OLD,
        "gone.model": OLD,
        "gone.events": OLD,
        "gone.trial": OLD,
        "gone.quality": OLD,
        "gone.v12.version": OLD,
        "gone.challenger.version": OLD,
        "lately.model": OLD,
        "lately.events": YOUNG,
        "notes.txt": OLD,
        ".gone.model.1.tmp": OLD,
    }.items():
        (tmp_path / name).write_bytes(b"12345")
        os.utime(tmp_path / name, (at, at))
    return tmp_path


def test_what_was_not_watched_for_long_goes_with_all_its_files(models: Path) -> None:
    assert remove_old_models(models, ["watched"], NOW) == {"gone": 30}
    left = {file.name for file in models.iterdir()}
    assert left == {"watched.model", "lately.model", "lately.events", "notes.txt", ".gone.model.1.tmp"}
    assert remove_old_models(models / "none", ["watched"], NOW) == {}
