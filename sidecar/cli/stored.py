"""Work on the database of a command's configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import click
from prometheus_client import CollectorRegistry

from sidecar.config.model import Config
from sidecar.errors import SidecarError
from sidecar.store.connection import FILE
from sidecar.store.protocol import Store
from sidecar.store.registry import open_store, store_is_there

T = TypeVar("T")


def no_database(folder: Path) -> str:
    """What to say where a folder has none: most often another one is meant."""
    path = folder / FILE
    return f"pronoia: no database at {path}; name pronoia's folder with --data, or its file with --config"


def with_store(config: Config, work: Callable[[Store], Awaitable[T]], *, make: bool = False) -> T:
    """The result of `work(store)`; ends the process with code 1 where the database cannot be used.

    `make`: whether an absent database is made; else it ends the process with code 2.
    """
    if not make and not store_is_there(config.store):
        click.echo(no_database(config.store.directory), err=True)
        raise SystemExit(2)

    async def run() -> T:
        async with opened_store(config) as store:
            return await work(store)

    try:
        return asyncio.run(run())
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error


@asynccontextmanager
async def opened_store(config: Config) -> AsyncIterator[Store]:
    """The configured store, made if need be, for as long as the block lasts. Raises: StoreError."""
    store = await open_store(config.store, registry=CollectorRegistry())
    try:
        yield store
    finally:
        await store.close()
