"""A picture is whole, or what was there before is."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import BinaryIO

import pytest
from matplotlib.figure import Figure

from sidecar.cli.picture import MAX_TITLE, name, save
from sidecar.errors import ModelError


def test_a_picture_has_the_format_of_its_name(tmp_path: Path) -> None:
    save(Figure(), tmp_path / "a.SVG")
    save(Figure(), tmp_path / "b")
    assert (tmp_path / "a.SVG").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ModelError, match=r"--plot .*'xyz' is no format"):
        save(Figure(), tmp_path / "c.xyz")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_leaves_the_picture_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a.png"
    place.write_bytes(b"before")

    def full(_: Figure, file: BinaryIO, **__: object) -> None:
        file.write(b"\x89PN")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(OSError, match="No space left"):
        save(Figure(), place)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("a.png", b"before")]


def test_a_series_is_named_as_it_is(tmp_path: Path) -> None:
    figure = Figure()
    axes = figure.subplots()
    name(axes, 'up{path=~"/a$|\\\\foo$", team="日本 🎉"}')
    save(figure, tmp_path / "a.png")
    name(axes, "x" * 1000)
    assert len(axes.get_title("left")) == MAX_TITLE
