"""Every kind of store by name; a new one is its file and a line here."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.store.protocol import Opener, Store
from sidecar.store.sqlite import SqliteStore

STORES: Mapping[str, Opener] = {
    "sqlite": SqliteStore,
}


async def open_store(config: StoreConfig, *, registry: CollectorRegistry) -> Store:
    """The store of the configured kind, made and migrated if need be. Raises: StoreError."""
    return await STORES[config.kind].open(config, registry=registry)


def store_is_there(config: StoreConfig) -> bool:
    """Whether there is one already."""
    return STORES[config.kind].is_there(config)
