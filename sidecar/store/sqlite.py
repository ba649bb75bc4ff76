"""The embedded store: SQLite in WAL mode, synchronous FULL, one writer, readers beside it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from sys import intern
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.errors import StoreError
from sidecar.records import Delivery, Episode, Incident, OutboxMessage, RuleRevision, shared
from sidecar.store import schema
from sidecar.store.bulk import execute_rows
from sidecar.store.checkpoint import Checkpointer
from sidecar.store.connection import FILE, connect, in_words, reading
from sidecar.store.maintenance import describe
from sidecar.store.patience import Patience
from sidecar.store.presence import Presence
from sidecar.store.responses import ResponseStore
from sidecar.store.retention import prune
from sidecar.store.signals import SignalStore
from sidecar.store.verdicts import VerdictStore
from sidecar.store.writer import StoreMetrics, Writer
from sidecar.telemetry import get_logger

_EPISODE = (
    "tenant, fingerprint, starts_at_ns, ends_at_ns, labels, annotations, generator_url, "
    "first_seen_ns, last_seen_ns, deliveries, state, incident_id, bonds"
)
_NEW_EPISODES = f"insert into episodes ({_EPISODE})"
_KNOWN_EPISODES = (
    "on conflict (tenant, fingerprint, starts_at_ns) do update set ends_at_ns = excluded.ends_at_ns, "
    "annotations = excluded.annotations, last_seen_ns = excluded.last_seen_ns, "
    "deliveries = excluded.deliveries, state = excluded.state, "
    # The alerts loop assigns incidents; the intake must not undo it.
    "incident_id = coalesce(incident_id, excluded.incident_id)"
)
_encode = msgspec.json.Encoder().encode
_decode_labels = msgspec.json.Decoder(dict[str, str]).decode
_decode_bonds = msgspec.json.Decoder(dict[str, float]).decode


class SqliteStore:
    """Everything that outlives the process, in one file. See `sidecar.store.protocol`."""

    def __init__(self, path: Path, config: StoreConfig, metrics: StoreMetrics) -> None:
        self.path = path
        self._config = config
        was_there = path.exists()
        connection = connect(path)
        try:
            begun_anew = was_there and schema.version(connection) == 0
            schema.migrate(connection)
            checkpointer = Checkpointer(connect(path))
        except sqlite3.Error as error:
            connection.close()
            raise StoreError(f"{path}: {in_words(error, path)}") from error
        except StoreError:
            connection.close()
            raise
        if begun_anew:
            get_logger("store").warning(
                "the database had nothing in it and is begun anew; if it should have, see pronoia db restore",
                path=str(path),
            )
        self._patience = Patience()
        self._writer = Writer(connection, metrics, checkpointer, Presence(path), self._patience)
        self.response_store = ResponseStore(self._writer, self._read)
        self.signal_store = SignalStore(self._writer, self._read)
        self.verdict_store = VerdictStore(self._writer, self._read)

    @classmethod
    async def open(cls, config: StoreConfig, *, registry: CollectorRegistry) -> SqliteStore:
        """The store in the configured directory, made and migrated if need be.

        Raises: StoreError.
        """

        def make() -> SqliteStore:
            try:
                config.directory.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(f"{config.directory} cannot be made: {error.strerror}") from error
            return cls(config.directory / FILE, config, StoreMetrics(registry))

        return await asyncio.to_thread(make)

    @classmethod
    def is_there(cls, config: StoreConfig) -> bool:
        """Whether the configured directory has a database."""
        return (config.directory / FILE).exists()

    def end_within(self, seconds: float) -> None:
        """Let all work together wait no longer than that for what another process has locked."""
        self._patience.end_within(seconds)

    async def close(self) -> None:
        """Commit what waits, then let go of the database."""
        await asyncio.to_thread(self._writer.close)

    async def commit_deliveries(self, deliveries: Sequence[Delivery], changed: Sequence[Episode]) -> None:
        """Deliveries, their dead letters and the changed episodes, in one transaction."""

        def work(connection: sqlite3.Connection) -> None:
            execute_rows(
                connection,
                "insert into deliveries (tenant, receiver, group_key, external_url, received_at_ns, "
                "body_hash, n_alerts, truncated_alerts)",
                [
                    (
                        d.tenant,
                        d.receiver,
                        d.group_key,
                        d.external_url,
                        d.received_at_ns,
                        d.body_hash,
                        len(d.alerts),
                        d.truncated_alerts,
                    )
                    for d in deliveries
                ],
            )
            execute_rows(
                connection,
                "insert into dead_letters (tenant, receiver, received_at_ns, reason, raw)",
                [
                    (d.tenant, d.receiver, d.received_at_ns, letter.reason, letter.raw)
                    for d in deliveries
                    for letter in d.dead_letters
                ],
            )
            execute_rows(
                connection, _NEW_EPISODES, [_episode_row(episode) for episode in changed], _KNOWN_EPISODES
            )

        await self._writer.run(work)

    async def open_episodes(self) -> list[Episode]:
        """Every episode that is not resolved, oldest first."""
        return await self.episodes("where state != 'resolved' order by starts_at_ns")

    async def recent_episodes(self, since_ns: int) -> list[Episode]:
        """Episodes that are open or were last seen since then: what late deliveries may speak of."""
        return await self.episodes(
            "where state != 'resolved' or last_seen_ns >= ? order by starts_at_ns", (since_ns,)
        )

    async def older_of_open_incidents(self, before_ns: int) -> list[Episode]:
        """Resolved episodes, last seen before then, of incidents that are open, by when they began."""
        return await self.episodes(
            "where state = 'resolved' and last_seen_ns < ? and incident_id in "
            "(select incident_id from incidents where state = 'open') order by starts_at_ns",
            (before_ns,),
        )

    async def episodes_begun(self, since_ns: int, *, limit: int) -> list[Episode]:
        """Those that began since then, by when they did; of too many the earliest."""
        return await self.episodes("where starts_at_ns >= ? order by starts_at_ns limit ?", (since_ns, limit))

    async def episodes_heard(self, since_ns: int, *, limit: int) -> list[Episode]:
        """Those first heard of since then, by when they were; of too many the earliest."""
        return await self.episodes(
            "where first_seen_ns >= ? order by first_seen_ns limit ?", (since_ns, limit)
        )

    async def episodes(self, where: str, parameters: tuple[Any, ...] = ()) -> list[Episode]:
        """Episodes that match an SQL tail; of this store only."""
        return await self._read(f"select {_EPISODE} from episodes {where}", parameters, _episode)  # noqa: S608

    async def put_incidents(self, incidents: Sequence[Incident], members: Sequence[Episode]) -> None:
        """Incidents as they now are, and the membership of the episodes given, in one transaction."""

        def work(connection: sqlite3.Connection) -> None:
            execute_rows(
                connection,
                "insert or replace into incidents "
                "(incident_id, tenant, state, started_at_ns, last_change_ns, body)",
                [
                    (i.incident_id, i.tenant, i.state, i.started_at_ns, i.last_change_ns, _encode(i).decode())
                    for i in incidents
                ],
            )
            execute_rows(
                connection,
                "with new as (",
                [(*e.key, e.incident_id, _bonds(e), e.state) for e in members],
                ") update episodes set incident_id = column4, bonds = column5, "
                "state = case when state = 'firing' then column6 else state end from new "
                "where tenant = column1 and fingerprint = column2 and starts_at_ns = column3",
            )

        await self._writer.run(work)

    async def incidents(
        self, *, limit: int = 100, state: str | None = None, urgent_first: bool = False
    ) -> list[Incident]:
        """Newest first, or the most urgent, of equals the newest; `state`: open, resolved, None for both."""
        order = ("json_extract(body, '$.priority'), " if urgent_first else "") + "started_at_ns desc"
        # Each state by itself, so that its index serves: of a long past hundreds of thousands are over.
        of_state = f"select * from (select * from incidents where state = ? order by {order} limit ?)"  # noqa: S608
        states = [state] if state else ["open", "resolved"]
        return await self._read(
            f"select body from ({' union all '.join([of_state] * len(states))}) order by {order} limit ?",  # noqa: S608
            (*(part for one in states for part in (one, limit)), limit),
            _incident,
        )

    async def incident(self, incident_id: str) -> tuple[Incident, list[Episode]] | None:
        """The incident and its episodes, or None where there is none of that id."""
        found = await self.incident_record(incident_id)
        if found is None:
            return None
        members = await self.episodes("where incident_id = ? order by starts_at_ns", (incident_id,))
        return found, members

    async def incident_record(self, incident_id: str) -> Incident | None:
        """The incident without its episodes, of which a storm has a hundred thousand."""
        found = await self._read(
            "select body from incidents where incident_id = ?", (incident_id,), _incident
        )
        return found[0] if found else None

    async def put_messages(self, messages: Sequence[OutboxMessage]) -> None:
        """Messages of the outbox as they now are, by key, in one transaction."""
        rows = [
            (
                m.key,
                m.target,
                m.incident_id,
                m.number,
                m.created_at_ns,
                m.due_at_ns,
                m.state,
                _encode(m).decode(),
            )
            for m in messages
        ]
        await self._writer.run(
            lambda connection: connection.executemany(
                "insert or replace into outbox "
                "(key, target, incident_id, number, created_at_ns, due_at_ns, state, body) "
                "values (?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
        )

    async def messages_due(
        self, now_ns: int, *, limit: int, target: str | None = None
    ) -> list[OutboxMessage]:
        """Pending messages whose time has come and that no earlier one of their incident holds up.

        Those of the most urgent incidents first, of each in the order in which they were made.
        """
        return await self._read(
            "select body from (select body, created_at_ns, number, key, "
            "min(json_extract(body, '$.priority')) over (partition by target, incident_id) as urgency "
            "from outbox as one where state = 'pending' and due_at_ns <= ? "
            "and target = coalesce(?, target) and not exists ("
            "select 1 from outbox as other where other.state = 'pending' and other.target = one.target "
            "and other.incident_id = one.incident_id and other.number < one.number "
            "and other.due_at_ns > ?)) order by urgency, created_at_ns, number, key limit ?",
            (now_ns, target, now_ns, limit),
            _message,
        )

    async def messages_of_recent_incidents(self, since_ns: int) -> list[OutboxMessage]:
        """Messages made since then, or of incidents that are open or changed since, the oldest first."""
        return await self._read(
            "select body from outbox where created_at_ns >= ? or incident_id in "
            "(select incident_id from incidents where state = 'open' or "
            "(state in ('resolved', 'merged') and last_change_ns >= ?)) order by created_at_ns, number, key",
            (since_ns, since_ns),
            _message,
        )

    async def messages_of(self, incident_id: str) -> list[OutboxMessage]:
        """Messages of one incident, in the order in which they were made."""
        return await self._read(
            "select body from outbox where incident_id = ? order by created_at_ns, number, key",
            (incident_id,),
            _message,
        )

    async def senders(self) -> tuple[dict[str, set[str]], set[str]]:
        """Of the latest deliveries: receivers by tenant, and the external URLs of all that sent them."""
        rows = await self._read(
            "select distinct tenant, receiver, external_url from "
            "(select tenant, receiver, external_url from deliveries order by id desc limit 2000)"
        )
        receivers: dict[str, set[str]] = {}
        for tenant, receiver, url in rows:
            if url:
                receivers.setdefault(tenant, set()).add(receiver)
        return receivers, {url for _, _, url in rows if url}

    async def note(self, name: str) -> bytes | None:
        """What was put under that name: small things that a loop has learned; None where there is none."""
        rows = await self._read("select body from notes where name = ?", (name,))
        return bytes(rows[0][0]) if rows else None

    async def put_note(self, name: str, body: bytes) -> None:
        """Keep a note, in place of one of that name."""
        await self._writer.run(
            lambda connection: connection.execute(
                "insert or replace into notes (name, body) values (?, ?)", (name, body)
            )
        )

    async def put_revision(self, *revisions: RuleRevision) -> None:
        """Insert or replace by `revision_id`; all of them or none."""
        rows = [
            (
                revision.revision_id,
                revision.group,
                revision.created_at_ns,
                revision.state,
                _encode(revision).decode(),
            )
            for revision in revisions
        ]
        await self._writer.run(
            lambda connection: connection.executemany(
                "insert or replace into revisions (revision_id, group_name, created_at_ns, state, body) "
                "values (?, ?, ?, ?, ?)",
                rows,
            )
        )

    async def revisions(
        self, *, group: str | None = None, state: str | None = None, limit: int = 100
    ) -> list[RuleRevision]:
        """Newest first; None: of every group, in every state."""
        return await self._read(
            "select body from revisions where group_name = coalesce(?, group_name) "
            "and state = coalesce(?, state) order by created_at_ns desc, rowid desc limit ?",
            (group, state, limit),
            lambda row: msgspec.json.decode(row[0], type=RuleRevision),
        )

    async def prune(self, *, now_ns: int) -> Mapping[str, int]:
        """Delete what is older than its table's retention; rows deleted per table."""
        return await prune(self._writer, self._read, self._config, now_ns=now_ns)

    async def status(self) -> Mapping[str, Any]:
        """Schema version, sizes, rows per table."""
        return await asyncio.to_thread(describe, self.path)

    async def _read(
        self, sql: str, parameters: tuple[Any, ...] = (), make: Callable[[Any], Any] = tuple
    ) -> list[Any]:
        """See `responses.Read`."""
        return await asyncio.to_thread(self._read_now, sql, parameters, make)

    def _read_now(self, sql: str, parameters: tuple[Any, ...], make: Callable[[Any], Any]) -> list[Any]:
        try:
            with reading(self.path, busy_seconds=self._patience.seconds) as connection:
                rows = connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error
        return [make(row) for row in rows]


def _episode_row(e: Episode) -> tuple[Any, ...]:
    return (
        e.tenant,
        e.fingerprint,
        e.starts_at_ns,
        e.ends_at_ns,
        _encode(e.labels).decode(),
        _encode(e.annotations).decode(),
        e.generator_url,
        e.first_seen_ns,
        e.last_seen_ns,
        e.deliveries,
        e.state,
        e.incident_id,
        _bonds(e),
    )


def _bonds(e: Episode) -> str | None:
    return _encode(e.bonds).decode() if e.bonds else None


def _incident(row: Sequence[Any]) -> Incident:
    return msgspec.json.decode(row[0], type=Incident)


def _message(row: Sequence[Any]) -> OutboxMessage:
    return msgspec.json.decode(row[0], type=OutboxMessage)


def _episode(row: Sequence[Any]) -> Episode:
    """An episode from a row of `_EPISODE`."""
    tenant, fingerprint, starts, ends, said, noted, url, first, last, n, state, incident, bound = row
    return Episode(
        intern(tenant),
        fingerprint,
        starts,
        ends,
        shared(_decode_labels(said)),
        shared(_decode_labels(noted)),
        intern(url),
        first,
        last,
        n,
        intern(state),
        incident and intern(incident),
        _decode_bonds(bound or "{}"),
    )
