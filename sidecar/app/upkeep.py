"""Deletes rows that outlived their retention, every hour."""

from __future__ import annotations

import asyncio

from prometheus_client import Counter

from sidecar.app.ground import Ground
from sidecar.background import Background
from sidecar.errors import StoreError
from sidecar.telemetry import get_logger

PRUNE_SECONDS = 3600.0


class Upkeep:
    """The store's housekeeping while the process runs."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._task = Background("upkeep")
        self._log = get_logger("upkeep")
        self._pruned = Counter(
            "pronoia_store_pruned_rows_total",
            "Rows deleted because they outlived their retention.",
            ["table"],
            registry=ground.registry,
        )

    def start(self) -> None:
        """Begin; the first deletion is in an hour."""
        self._task.start(self._run())

    async def stop(self) -> None:
        """End."""
        await self._task.stop()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            try:
                pruned = await self._ground.store.prune(now_ns=int(self._ground.wall() * 1e9))
            except StoreError as error:
                self._log.warning("old rows not deleted, will try again", err=str(error))
            else:
                for table, n in pruned.items():
                    self._pruned.labels(table).inc(n)
