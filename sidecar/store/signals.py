"""What may have heralded incidents: anomalies, changes, thresholds ahead, alerts; in the embedded store."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.records import EpisodeStart, Signal
from sidecar.store.responses import Read
from sidecar.store.writer import Writer

SINCE = "signals-since"
"""The note that tells since when signals are recorded."""


class SignalStore:
    """Rows of the table `signals`, and when alerts began. Every call may raise StoreError."""

    def __init__(self, writer: Writer, read: Read) -> None:
        self._writer = writer
        self._read = read

    async def begin(self, now_ns: int) -> None:
        """Note that signals are recorded from now on, if they were not before."""
        body = str(now_ns).encode()
        await self._writer.run(
            lambda connection: connection.execute(
                "insert or ignore into notes (name, body) values (?, ?)", (SINCE, body)
            )
        )

    async def since(self) -> int | None:
        """Since when signals are recorded, ns; None: they never were."""
        rows = await self._read("select body from notes where name = ?", (SINCE,))
        return int(bytes(rows[0][0])) if rows else None

    async def put(self, signals: Sequence[Signal]) -> None:
        """Keep these; one that is known already changes nothing."""
        rows = [(one.at_ns, one.kind, one.service, one.strength) for one in signals]
        await self._writer.run(
            lambda connection: connection.executemany(
                "insert or ignore into signals (at_ns, kind, service, strength) values (?, ?, ?, ?)", rows
            )
        )

    async def get(self, *, since_ns: int = 0) -> list[Signal]:
        """Signals since then, the oldest first."""
        return await self._read(
            "select at_ns, kind, service, strength from signals where at_ns >= ? order by at_ns",
            (since_ns,),
            lambda row: Signal(*row),
        )

    async def alert_starts(self, *, since_ns: int = 0, limit: int) -> list[EpisodeStart]:
        """Episodes that began since then, or are of incidents that did; the newest ones, in order of time."""
        newest = await self._read(
            "select starts_at_ns, labels, incident_id from episodes where starts_at_ns >= ? "
            "or incident_id in (select incident_id from incidents where started_at_ns >= ?) "
            "order by starts_at_ns desc limit ?",
            (since_ns, since_ns, limit),
            lambda row: EpisodeStart(*row),
        )
        return newest[::-1]
