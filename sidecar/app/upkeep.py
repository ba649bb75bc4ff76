"""What is kept no longer, looked for every hour: rows that outlived their retention, models of no query."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from pathlib import Path

from prometheus_client import Counter

from sidecar.app.ground import Ground
from sidecar.loop.old_models import remove_old_models
from sidecar.rounds import Rounds
from sidecar.telemetry import get_logger

PRUNE_SECONDS = 3600.0


class Upkeep:
    """The data folder's housekeeping while the process runs.

    `watched`: the queries of now, by name; none while it is not known which they are. `now`: by which
    what is kept is too old, seconds; a clock that is ahead for a moment would take all of it.
    """

    def __init__(
        self,
        ground: Ground,
        *,
        models: Path,
        watched: Callable[[], Collection[str]],
        now: Callable[[], float],
    ) -> None:
        self._ground, self._models, self._watched, self._now = ground, models, watched, now
        self._log = get_logger("upkeep")
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
        await self._remove_old_models()
        pruned = await self._ground.store.prune(now_ns=int(self._now() * 1e9))
        for table, n in pruned.items():
            self._pruned.labels(table).inc(n)

    async def _remove_old_models(self) -> None:
        watched = self._watched()
        if not watched:
            return
        # It may not be written, or changes just now: the next hour will do.
        with contextlib.suppress(OSError):
            removed = await asyncio.to_thread(remove_old_models, self._models, watched, self._now())
            for query, n_bytes in removed.items():
                self._log.info(
                    "models of a query that was long not watched removed", query=query, bytes=n_bytes
                )
