"""What the embedded store forgets: rows beyond their table's retention, and the room that they took."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence

import msgspec

from sidecar.config.model import StoreConfig
from sidecar.store.responses import Read
from sidecar.store.writer import Writer

PRUNE_ROWS = 5000
"""Rows deleted in one transaction, so that pruning never holds up an alert."""

FREE_SHARE = 0.25
VACUUM_PAGES = 200
"""Above that share of free pages the file is given back to the disk, so many pages a transaction."""


async def prune(writer: Writer, read: Read, config: StoreConfig, *, now_ns: int) -> Mapping[str, int]:
    """Delete what is older than its table's retention; rows deleted per table. Raises: StoreError."""
    tails = {
        "deliveries": ("received_at_ns < ?", config.retention_deliveries),
        "dead_letters": ("received_at_ns < ?", config.retention_dead_letters),
        "episodes": ("state = 'resolved' and last_seen_ns < ?", config.retention_episodes),
        "incidents": (
            "state in ('resolved', 'merged') and last_change_ns < ?",
            config.retention_episodes,
        ),
        # What was told of an open incident is how a restart knows that it was, however long it lasts.
        "outbox": (
            "state != 'pending' and created_at_ns < ? and incident_id not in "
            "(select incident_id from incidents where state = 'open')",
            config.retention_dead_letters,
        ),
        "responses": ("changed_at_ns < ?", config.retention_episodes),
        "timeline": ("at_ns < ?", config.retention_episodes),
        "feedback": ("at_ns < ?", config.retention_episodes),
        "series_verdicts": ("at_ns < ?", config.retention_episodes),
        "signals": ("at_ns < ?", config.retention_episodes),
        "revisions": ("state != 'live' and created_at_ns < ?", config.retention_revisions),
    }
    deleted: dict[str, int] = {}
    for table, (condition, retention) in tails.items():
        deleted[table] = 0
        before = now_ns - int(retention * 1e9)
        while found := await read(
            f"select rowid from {table} where {condition} limit {PRUNE_ROWS}",  # noqa: S608
            (before,),
        ):
            deleted[table] += await writer.run(
                _deletion(table, condition, before, [rowid for (rowid,) in found])
            )
            if len(found) < PRUNE_ROWS:
                break
    while await writer.run(_give_back):
        pass
    return deleted


def _deletion(
    table: str, condition: str, before: int, rowids: Sequence[int]
) -> Callable[[sqlite3.Connection], int]:
    """Deletes those rows as far as the condition still holds; they were sought where nobody waits for it."""

    def work(connection: sqlite3.Connection) -> int:
        return connection.execute(
            f"delete from {table} where {condition} and rowid in (select value from json_each(?))",  # noqa: S608
            (before, msgspec.json.encode(rowids).decode()),
        ).rowcount

    return work


def _give_back(connection: sqlite3.Connection) -> bool:
    """Return some free pages to the disk where too many are free; whether there was something to do."""
    (free,) = connection.execute("pragma freelist_count").fetchone()
    (pages,) = connection.execute("pragma page_count").fetchone()
    if free < VACUUM_PAGES or free < FREE_SHARE * pages:
        return False
    for _ in range(VACUUM_PAGES):
        # One page a call: the sqlite3 module stops this pragma at its first step, whatever its number.
        connection.execute("pragma incremental_vacuum(1)").fetchall()
    (left,) = connection.execute("pragma freelist_count").fetchone()
    return bool(left < free)  # A database made without auto_vacuum gives nothing back.
