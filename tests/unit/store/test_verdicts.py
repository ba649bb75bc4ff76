"""Verdicts on series are kept over a restart, listed in order, and taken back once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.records import SeriesVerdict
from sidecar.store.sqlite import SqliteStore


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(StoreConfig(directory=directory), registry=CollectorRegistry())
    try:
        yield store
    finally:
        await store.close()


async def test_what_is_kept_is_found_again_and_what_is_taken_back_is_not(tmp_path: Path) -> None:
    late, early = (
        SeriesVerdict("load", {"pod": "ü"}, 7, "value", verdict, "ann", at_ns)
        for verdict, at_ns in (("noise", 20), ("useful", 10))
    )
    async with opened(tmp_path) as store:
        first = await store.verdict_store.put(late)
        await store.verdict_store.put(early)
    async with opened(tmp_path) as store:
        found = await store.verdict_store.everything()
        assert [(one.verdict, one.labels, one.event_ms) for one in found] == [
            ("useful", {"pod": "ü"}, 7),
            ("noise", {"pod": "ü"}, 7),
        ]
        assert await store.verdict_store.take_back(first)
        assert not await store.verdict_store.take_back(first)
        assert [one.verdict for one in await store.verdict_store.everything()] == ["useful"]
