"""A backup where it is wanted most: the database is damaged, or was copied by hand, or is named itself."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sidecar.errors import StoreError
from sidecar.store.connection import connect
from sidecar.store.maintenance import backup, migrate, restore

GARBAGE = b"no database " * 2000


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "pronoia.db"
    migrate(path)
    note(path, "kept")
    return path


def note(path: Path, name: str) -> None:
    with closing(connect(path)) as connection:
        connection.execute("insert into notes (name, body) values (?, x'00')", (name,))


def notes(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("select name from notes order by name")]


def aside(path: Path) -> Path:
    return path.with_name(path.name + ".before-restore")


@pytest.mark.parametrize("damage", ["whole", "head"])
def test_a_backup_takes_the_place_of_a_damaged_database(database: Path, tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "copy.db"
    backup(database, copy)
    with database.open("rb+") as file:
        file.write(GARBAGE if damage == "whole" else GARBAGE[:100])
    damaged = database.read_bytes()
    restore(database, copy)
    assert notes(database) == ["kept"]
    assert aside(database).read_bytes() == damaged, "some of it may be saved yet"


def test_a_copy_of_the_files_of_a_database_in_use_comes_back_with_its_log(
    database: Path, tmp_path: Path
) -> None:
    with closing(connect(database)) as connection:
        connection.execute("insert into notes (name, body) values ('in the log', x'00')")
        for suffix in ("", "-wal"):
            shutil.copy(f"{database}{suffix}", tmp_path / f"copy.db{suffix}")
    restore(database, tmp_path / "copy.db")
    assert notes(database) == ["in the log", "kept"]


def test_a_log_that_was_left_behind_is_not_taken_for_that_of_the_backup(
    database: Path, tmp_path: Path
) -> None:
    copy, log = tmp_path / "copy.db", Path(f"{database}-wal")
    backup(database, copy)
    with closing(connect(database)) as connection:
        connection.execute("insert into notes (name, body) values ('of another', x'00')")
        shutil.copy(log, tmp_path / "log")
    database.unlink()
    shutil.copy(tmp_path / "log", log)
    restore(database, copy)
    assert notes(database) == ["kept"]


def test_the_database_is_no_backup_of_itself(database: Path) -> None:
    before = database.stat().st_ino
    for refused in (backup, restore):
        with pytest.raises(StoreError, match="is the database itself"):
            refused(database, database)
    assert database.stat().st_ino == before, "a running sidecar would write to a file without a name"
