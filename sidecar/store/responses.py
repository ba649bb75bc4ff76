"""What people did and said: responses, timelines, feedback. Part of the embedded store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from sidecar.records import Feedback, Response, TimelineEntry
from sidecar.store.writer import Writer


class Read(Protocol):
    """Asks the database; `make` is called for each row, in the thread that reads: no request waits for it."""

    def __call__(
        self, sql: str, parameters: tuple[Any, ...] = (), make: Callable[[Any], Any] = tuple
    ) -> Awaitable[list[Any]]:
        """What became of the rows. Raises: StoreError."""
        ...


_TIMELINE = "insert into timeline (incident_id, at_ns, kind, actor, text) values (?, ?, ?, ?, ?)"
_FEEDBACK = (
    "insert or ignore into feedback (incident_id, tenant, at_ns, verdict, actor, rule, other_rule, believed) "
    "values (?, ?, ?, ?, ?, ?, ?, ?)"
)


class ResponseStore:
    """Rows of the tables `responses`, `timeline` and `feedback`. Every call may raise StoreError."""

    def __init__(self, writer: Writer, read: Read) -> None:
        self._writer = writer
        self._read = read

    async def put_responses(
        self, responses: Sequence[Response], entries: Sequence[TimelineEntry] = ()
    ) -> None:
        """Responses as they now are, and what is new on timelines, in one transaction."""
        rows = [
            (r.incident_id, r.tenant, r.changed_at_ns, msgspec.json.encode(r).decode()) for r in responses
        ]
        told = [(e.incident_id, e.at_ns, e.kind, e.actor, e.text) for e in entries]

        def work(connection: Any) -> None:
            connection.executemany(
                "insert or replace into responses (incident_id, tenant, changed_at_ns, body) "
                "values (?, ?, ?, ?)",
                rows,
            )
            connection.executemany(_TIMELINE, told)

        await self._writer.run(work)

    async def response(self, incident_id: str) -> Response | None:
        """What people did about one incident."""
        found = await self._read(
            "select body from responses where incident_id = ?", (incident_id,), _response
        )
        return found[0] if found else None

    async def responses(self, *, open_only: bool = False, since_ns: int = 0) -> list[Response]:
        """Responses changed since then, newest first; or those of incidents that are open."""
        condition = (
            "incident_id in (select incident_id from incidents where state = 'open')"
            if open_only
            else "changed_at_ns >= ?"
        )
        return await self._read(
            f"select body from responses where {condition} order by changed_at_ns desc",  # noqa: S608
            () if open_only else (since_ns,),
            _response,
        )

    async def timeline(self, incident_id: str) -> list[TimelineEntry]:
        """What happened in one incident, in order, and what people did about those that went into it."""
        kept = await self.response(incident_id)
        parts = kept.parts if kept is not None else []
        return await self._read(
            "select incident_id, at_ns, kind, actor, text from timeline where incident_id = ? "
            "or (incident_id in (select value from json_each(?)) and actor != 'pronoia') "
            "order by at_ns, rowid",
            (incident_id, msgspec.json.encode(parts).decode()),
            lambda row: TimelineEntry(*row),
        )

    async def put_feedback(self, given: Sequence[Feedback]) -> None:
        """Keep verdicts; the same one of the same person on the same thing counts once."""
        rows = [
            (f.incident_id, f.tenant, f.at_ns, f.verdict, f.actor, f.rule, f.other_rule, f.believed)
            for f in given
        ]
        await self._writer.run(lambda connection: connection.executemany(_FEEDBACK, rows))

    async def feedback(self, *, since_ns: int = 0) -> list[Feedback]:
        """Verdicts, oldest first."""
        return await self._read(
            "select incident_id, tenant, at_ns, verdict, actor, rule, other_rule, believed from feedback "
            "where at_ns >= ? order by at_ns, rowid",
            (since_ns,),
            lambda row: Feedback(*row),
        )


def _response(row: Sequence[Any]) -> Response:
    return msgspec.json.decode(row[0], type=Response)
