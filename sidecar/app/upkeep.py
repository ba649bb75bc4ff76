"""Deletes rows that outlived their retention, every hour."""

from __future__ import annotations

from prometheus_client import Counter

from sidecar.app.ground import Ground
from sidecar.rounds import Rounds

PRUNE_SECONDS = 3600.0


class Upkeep:
    """The store's housekeeping while the process runs."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._rounds = Rounds(
            "upkeep", self._prune, pause=lambda: PRUNE_SECONDS, undone="old rows not deleted"
        )
        self._pruned = Counter(
            "pronoia_store_pruned_rows_total",
            "Rows deleted because they outlived their retention.",
            ["table"],
            registry=ground.registry,
        )

    def start(self) -> None:
        """Begin; the first deletion is in an hour."""
        self._rounds.start(after_seconds=PRUNE_SECONDS)

    async def stop(self) -> None:
        """End."""
        await self._rounds.stop()

    async def _prune(self) -> None:
        pruned = await self._ground.store.prune(now_ns=int(self._ground.wall() * 1e9))
        for table, n in pruned.items():
            self._pruned.labels(table).inc(n)
