"""What an operator does to a database file: look at it, migrate, back up, restore."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidecar.errors import StoreError
from sidecar.store import schema
from sidecar.store.connection import connect, reading


def describe(path: Path) -> Mapping[str, Any]:
    """Schema version, size in bytes, rows per table.

    Raises: StoreError where there is no database.
    """
    if not path.exists():
        raise StoreError(f"{path}: there is no database yet; pronoia run makes it")
    import sqlite_utils  # It imports pandas where that is installed; a start does without.

    try:
        with reading(path) as connection:
            db = sqlite_utils.Database(connection)
            sizes = [path, path.with_name(path.name + "-wal")]
            return {
                "path": str(path),
                "schema_version": schema.version(connection),
                "schema_latest": schema.LATEST,
                "size_bytes": sum(file.stat().st_size for file in sizes if file.exists()),
                "rows": {name: db.table(name).count for name in db.table_names()},
            }
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error


def migrate(path: Path) -> list[int]:
    """Bring the database to the latest schema, making it if need be; the versions reached.

    Raises: StoreError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = connect(path)
    try:
        return schema.migrate(connection)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    finally:
        connection.close()


def backup(path: Path, target: Path) -> int:
    """Copy the database, which may be in use, to `target`; its size in bytes.

    The copy is checked before it takes its name, so a broken one never does.

    Raises: StoreError.
    """
    if not path.exists():
        raise StoreError(f"{path}: there is no database to back up")
    if target.exists() and target.samefile(path):
        raise StoreError(f"{target}: is the database itself; name another file")
    partial = target.with_name(target.name + ".partial")
    try:
        _copy(path, partial)
        os.replace(partial, target)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{target}: not backed up: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size


def restore(path: Path, source: Path) -> None:
    """Put a backup in the database's place; the old one stays beside it as `….before-restore`.

    The sidecar must not be running. The backup may be a copy of the files of a database in use: what
    stands in the log beside it comes along.

    Raises: StoreError where the backup is damaged or of a newer version, or the database is in use.
    """
    if not source.exists():
        raise StoreError(f"{source}: there is no such file")
    if path.exists() and source.samefile(path):
        raise StoreError(f"{source}: is the database itself; name a backup")
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming = path.with_name(path.name + ".incoming")
    try:
        _copy(source, incoming)
        with reading(incoming) as connection:
            found = schema.version(connection)
        if found > schema.LATEST:
            raise StoreError(f"{source}: is of a newer pronoia (schema {found})")
        if path.exists():
            _refuse_in_use(path)
        _set_aside(path)
        os.replace(incoming, path)
    except (sqlite3.OperationalError, OSError) as error:
        raise StoreError(f"{source}: not restored: {error}") from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{source}: is no intact database: {error}") from error
    finally:
        incoming.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment, with what its log holds, into one file, and check that.

    Raises: sqlite3.Error; StoreError where the copy is damaged.
    """
    target.unlink(missing_ok=True)
    with reading(source) as connection:
        copy = sqlite3.connect(target)
        try:
            connection.backup(copy)
            copy.execute("pragma journal_mode = delete")
            verify(copy, source)
        finally:
            copy.close()


def _set_aside(path: Path) -> None:
    """Give the database and its log names with `.before-restore`; those of an earlier time go.

    Also a log whose database is gone: SQLite would take it for that of the one that comes.
    """
    aside = path.with_name(path.name + ".before-restore")
    path.with_name(path.name + "-shm").unlink(missing_ok=True)
    for suffix in ("", "-wal"):
        former, kept = Path(f"{path}{suffix}"), Path(f"{aside}{suffix}")
        kept.unlink(missing_ok=True)
        if former.exists():
            os.replace(former, kept)


def verify(connection: sqlite3.Connection, path: Path) -> None:
    """Raises: StoreError where SQLite finds the database damaged."""
    (answer,) = connection.execute("pragma integrity_check(1)").fetchone()
    if answer != "ok":
        raise StoreError(f"{path}: is damaged: {answer}")


def _refuse_in_use(path: Path) -> None:
    connection = sqlite3.connect(path, timeout=0.2, isolation_level=None)
    try:
        connection.execute("pragma locking_mode = exclusive")
        connection.execute("pragma wal_checkpoint(truncate)")
        connection.execute("begin exclusive")
        connection.execute("rollback")
    except sqlite3.OperationalError as error:
        if (error.sqlite_errorcode & 0xFF) == sqlite3.SQLITE_BUSY:
            raise StoreError(f"{path}: is in use; stop the sidecar first") from error
        # It cannot be used at all, which is what a backup is put in its place for.
    except sqlite3.DatabaseError:
        return  # Damaged: the same.
    finally:
        connection.close()
