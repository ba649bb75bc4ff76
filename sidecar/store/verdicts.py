"""What people said of series' anomalies. Part of the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from sidecar.records import SeriesVerdict
from sidecar.store.responses import Read
from sidecar.store.writer import Writer

_COLUMNS = "query, labels, event_ms, kind, verdict, actor, at_ns, tenant"


class VerdictStore:
    """Rows of the table `series_verdicts`. Every call may raise StoreError."""

    def __init__(self, writer: Writer, read: Read) -> None:
        self._writer = writer
        self._read = read

    async def put(self, one: SeriesVerdict) -> int:
        """Keep a verdict; its id, by which it can be taken back."""
        row = (
            one.query,
            msgspec.json.encode(one.labels).decode(),
            one.event_ms,
            one.kind,
            one.verdict,
            one.actor,
            one.at_ns,
            one.tenant,
        )

        def work(connection: Any) -> int:
            sql = f"insert into series_verdicts ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
            return int(connection.execute(sql, row).lastrowid)

        return await self._writer.run(work)

    async def everything(self) -> list[SeriesVerdict]:
        """All that were not taken back, oldest first."""
        return await self._read(
            f"select {_COLUMNS}, id from series_verdicts order by at_ns, id",  # noqa: S608
            (),
            _verdict,
        )

    async def take_back(self, verdict_id: int) -> bool:
        """Forget a verdict; False where there is none of that id."""

        def work(connection: Any) -> bool:
            deleted = connection.execute("delete from series_verdicts where id = ?", (verdict_id,))
            return bool(deleted.rowcount)

        return await self._writer.run(work)


def _verdict(row: Sequence[Any]) -> SeriesVerdict:
    query, labels, *rest = row
    return SeriesVerdict(query, msgspec.json.decode(labels, type=dict[str, str]), *rest)
