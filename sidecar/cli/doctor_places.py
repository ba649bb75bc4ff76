"""What `pronoia doctor` finds on this machine: files, folders and a database that it cannot use, promtool."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sidecar.cli.troubles import Trouble
from sidecar.config.model import Config
from sidecar.errors import StoreError
from sidecar.store.connection import FILE


def examine_places(config: Config) -> Iterator[Trouble]:
    """Faults of stated files and folders, as this user meets them."""
    for where, path in _files(config):
        if not os.access(path, os.R_OK):
            what = "cannot be read by this user" if path.exists() else "is not there"
            yield Trouble("error", where, f"{path} {what}", "mount or make it, with the rights to read it")
    folders = [("store.directory", config.store.directory)]
    if config.rules.directory is not None:
        folders.append(("rules.directory", config.rules.directory))
    for where, folder in folders:
        if not _writable(folder):
            what = f"{folder} cannot be written by this user"
            yield Trouble("error", where, what, "give its user the right, or name another folder")
    yield from _database(config.store.directory / FILE)
    if config.rules.enabled and shutil.which(config.rules.promtool) is None:
        yield Trouble(
            "warning",
            "rules.promtool",
            f"{config.rules.promtool} is not on PATH, so templates and durations of rules are not checked",
            "install Prometheus' promtool, or name its path",
        )


def _database(path: Path) -> Iterator[Trouble]:
    """Whether the database, if there is one, can be read by this pronoia."""
    from sidecar.store import maintenance

    if not path.exists():
        return
    try:
        found = maintenance.describe(path)
    except StoreError as error:
        remedy = "put a backup in its place (pronoia db restore), or move it away to begin anew"
        yield Trouble("error", "store", str(error), remedy)
        return
    version, latest = found["schema_version"], found["schema_latest"]
    if version > latest:
        what = f"{path} has schema version {version}, this pronoia knows {latest}"
        yield Trouble("error", "store", what, "run the newer pronoia, or put a backup in its place")


def _files(section: Any, where: str = "") -> Iterator[tuple[str, Path]]:
    """Every file that the configuration names, by its place."""
    if isinstance(section, BaseModel):
        for name, value in section:
            place = f"{where}.{name}" if where else name
            if name.endswith("_file") and isinstance(value, Path):
                yield place, value
            else:
                yield from _files(value, place)
    elif isinstance(section, list | tuple):
        for i, value in enumerate(section):
            yield from _files(value, f"{where}[{i}]")


def _writable(folder: Path) -> bool:
    """Whether files can be made there; for a folder that is not there yet, whether it can be made."""
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    # /proc and the like say that root may write, and refuse it.
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK) and not there.is_relative_to("/proc")
