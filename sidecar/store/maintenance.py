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
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        with reading(path) as source:
            copy = sqlite3.connect(partial)
            try:
                source.backup(copy)
                copy.execute("pragma journal_mode = delete")
                verify(copy, partial)
            finally:
                copy.close()
        os.replace(partial, target)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{target}: not backed up: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return target.stat().st_size


def restore(path: Path, source: Path) -> None:
    """Put a backup in the database's place; the old one stays beside it as `….before-restore`.

    The sidecar must not be running.

    Raises: StoreError where the backup is damaged or of a newer version, or the database is in use.
    """
    if not source.exists():
        raise StoreError(f"{source}: there is no such file")
    with reading(source) as connection:
        try:
            verify(connection, source)
        except sqlite3.Error as error:
            raise StoreError(f"{source}: is no intact database: {error}") from error
        if schema.version(connection) > schema.LATEST:
            raise StoreError(f"{source}: is of a newer pronoia (schema {schema.version(connection)})")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        _refuse_in_use(path)
    incoming = path.with_name(path.name + ".incoming")
    incoming.write_bytes(source.read_bytes())
    with incoming.open("rb+") as file:
        os.fsync(file.fileno())
    if path.exists():
        os.replace(path, path.with_name(path.name + ".before-restore"))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    os.replace(incoming, path)


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
        raise StoreError(f"{path}: is in use; stop the sidecar first") from error
    finally:
        connection.close()
