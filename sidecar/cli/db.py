"""`pronoia db`: looking after the database."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sidecar.cli.options import config_option, data_option, format_option, read_config
from sidecar.errors import StoreError


@click.group()
def db() -> None:
    """Look after the database: one SQLite file in the data folder.

    Backing up works while the sidecar runs; restoring needs it stopped. For a
    look around: sqlite-utils tables pronoia-data/pronoia.db --counts
    """


def _file(config_path: Path | None, data_directory: Path | None) -> Path:
    from sidecar.store.connection import FILE

    overrides = {"store": {"directory": data_directory}} if data_directory else {}
    return read_config(config_path, overrides).store.directory / FILE


def _fail(error: StoreError) -> SystemExit:
    click.echo(f"pronoia: {error}", err=True)
    return SystemExit(1)


@db.command()
@config_option
@data_option
@format_option
def status(config_path: Path | None, data_directory: Path | None, output: str) -> None:
    """Schema version, size and rows of each table.

    \b
    Example:
      pronoia db status --data /var/lib/pronoia
    """
    from sidecar.store.maintenance import describe

    try:
        found = describe(_file(config_path, data_directory))
    except StoreError as error:
        raise _fail(error) from error
    if output == "json":
        click.echo(json.dumps(found))
        return
    click.echo(f"{found['path']}: schema {found['schema_version']} of {found['schema_latest']}")
    click.echo(f"{found['size_bytes']:,} bytes")
    for table, rows in found["rows"].items():
        click.echo(f"  {table:<16} {rows:>12,} rows")


@db.command()
@config_option
@data_option
def migrate(config_path: Path | None, data_directory: Path | None) -> None:
    """Bring the database to this version's schema; `pronoia run` does it by itself.

    \b
    Example:
      pronoia db migrate --data /var/lib/pronoia
    """
    from sidecar.store.maintenance import migrate as bring

    try:
        reached = bring(_file(config_path, data_directory))
    except StoreError as error:
        raise _fail(error) from error
    click.echo(f"migrated to schema {reached[-1]}" if reached else "the schema is up to date")


@db.command()
@config_option
@data_option
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False))
def backup(config_path: Path | None, data_directory: Path | None, target: Path) -> None:
    """Copy the database to TARGET, checked before it takes that name.

    \b
    Example:
      pronoia db backup /backups/pronoia.db
    """
    from sidecar.store.maintenance import backup as copy

    if not target.parent.is_dir():  # Not made: it may be a disk that is not mounted.
        raise _fail(StoreError(f"{target.parent} is no folder; make or mount it, or name another"))
    try:
        size = copy(_file(config_path, data_directory), target)
    except StoreError as error:
        raise _fail(error) from error
    click.echo(f"{target}: {size:,} bytes, intact")


@db.command()
@config_option
@data_option
@click.argument("source", type=click.Path(path_type=Path, dir_okay=False))
def restore(config_path: Path | None, data_directory: Path | None, source: Path) -> None:
    """Put the backup SOURCE in the database's place; what was there stays beside it. Stop pronoia first.

    \b
    Example:
      pronoia db restore /backups/pronoia.db
    """
    from sidecar.store.folder_lock import FolderLock
    from sidecar.store.maintenance import restore as put

    file = _file(config_path, data_directory)
    lock = FolderLock(file.parent)
    try:
        lock.take()
        put(file, source)
    except StoreError as error:
        raise _fail(error) from error
    finally:
        lock.release()
    click.echo(f"{file} is now {source}; the former one, if any, is {file}.before-restore")
