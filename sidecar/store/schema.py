"""Tables and their migrations: numbered steps, each applied once, in its own transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from sidecar.errors import StoreError

if TYPE_CHECKING:  # It imports pandas where that is installed: most of a second at every start.
    import sqlite_utils


def _first(db: sqlite_utils.Database) -> None:
    db.table("deliveries").create(
        {
            "id": int,
            "tenant": str,
            "receiver": str,
            "group_key": str,
            "external_url": str,
            "received_at_ns": int,
            "body_hash": bytes,
            "n_alerts": int,
            "truncated_alerts": int,
        },
        pk="id",
    )
    db.table("dead_letters").create(
        {"id": int, "tenant": str, "receiver": str, "received_at_ns": int, "reason": str, "raw": bytes},
        pk="id",
    )
    db.table("episodes").create(
        {
            "tenant": str,
            "fingerprint": str,
            "starts_at_ns": int,
            "ends_at_ns": int,
            "labels": str,
            "annotations": str,
            "generator_url": str,
            "first_seen_ns": int,
            "last_seen_ns": int,
            "deliveries": int,
            "state": str,
            "incident_id": str,
        },
        pk=("tenant", "fingerprint", "starts_at_ns"),
    )
    # Partial: an alert's first insert pays for no index that it is not looked up by.
    db.execute("create index episodes_open on episodes (state) where state != 'resolved'")
    db.execute("create index episodes_incident on episodes (incident_id) where incident_id is not null")
    db.table("incidents").create(
        {
            "incident_id": str,
            "tenant": str,
            "state": str,
            "started_at_ns": int,
            "last_change_ns": int,
            "body": str,
        },
        pk="incident_id",
    )
    db.table("incidents").create_index(["state", "started_at_ns"])
    db.table("revisions").create(
        {"revision_id": str, "group_name": str, "created_at_ns": int, "state": str, "body": str},
        pk="revision_id",
    )
    db.table("revisions").create_index(["group_name", "created_at_ns"])


def _bonds(db: sqlite_utils.Database) -> None:
    db.execute("alter table episodes add column bonds text")
    # Moving an incident's episodes into another one, and pruning, find them by state and time.
    db.execute("create index incidents_change on incidents (state, last_change_ns)")


def _outbox(db: sqlite_utils.Database) -> None:
    db.table("outbox").create(
        {
            "key": str,
            "target": str,
            "incident_id": str,
            "number": int,
            "created_at_ns": int,
            "due_at_ns": int,
            "state": str,
            "body": str,
        },
        pk="key",
    )
    db.execute("create index outbox_due on outbox (due_at_ns) where state = 'pending'")
    db.table("outbox").create_index(["created_at_ns"])
    db.table("outbox").create_index(["incident_id", "target"])


def _notes(db: sqlite_utils.Database) -> None:
    db.table("notes").create({"name": str, "body": bytes}, pk="name")


def _responses(db: sqlite_utils.Database) -> None:
    db.table("responses").create(
        {"incident_id": str, "tenant": str, "changed_at_ns": int, "body": str}, pk="incident_id"
    )
    db.table("responses").create_index(["changed_at_ns"])
    db.table("timeline").create(
        {"id": int, "incident_id": str, "at_ns": int, "kind": str, "actor": str, "text": str}, pk="id"
    )
    db.table("timeline").create_index(["incident_id", "at_ns"])
    db.table("timeline").create_index(["kind", "at_ns"])
    db.table("feedback").create(
        {
            "id": int,
            "incident_id": str,
            "tenant": str,
            "at_ns": int,
            "verdict": str,
            "actor": str,
            "rule": str,
            "other_rule": str,
        },
        pk="id",
    )
    db.table("feedback").create_index(["incident_id", "verdict", "actor", "rule", "other_rule"], unique=True)
    db.table("feedback").create_index(["at_ns"])


def _believed(db: sqlite_utils.Database) -> None:
    db.execute("alter table feedback add column believed real not null default 0.5")


def _signals(db: sqlite_utils.Database) -> None:
    db.table("signals").create(
        {"at_ns": int, "kind": str, "service": str, "strength": float}, pk=("at_ns", "kind", "service")
    )


def _by_start(db: sqlite_utils.Database) -> None:
    # Fingerprints are hashes: an index that begins with them has every new alert dirty a page of its
    # own, and with a long history each of them is written twice. New alerts begin at about one time.
    columns = {column.name: column.type for column in db.table("episodes").columns}
    db.table("episodes_by_start").create(columns, pk=("tenant", "starts_at_ns", "fingerprint"))
    db.execute("insert into episodes_by_start select * from episodes order by rowid")
    db.execute("drop table episodes")
    db.execute("alter table episodes_by_start rename to episodes")
    db.execute("create index episodes_open on episodes (state) where state != 'resolved'")
    db.execute("create index episodes_incident on episodes (incident_id) where incident_id is not null")


def _series_verdicts(db: sqlite_utils.Database) -> None:
    db.table("series_verdicts").create(
        {
            "id": int,
            "tenant": str,
            "query": str,
            "labels": str,
            "event_ms": int,
            "kind": str,
            "verdict": str,
            "actor": str,
            "at_ns": int,
        },
        pk="id",
    )
    db.table("series_verdicts").create_index(["at_ns"])


MIGRATIONS: tuple[Callable[[sqlite_utils.Database], None], ...] = (
    _first,
    _bonds,
    _outbox,
    _notes,
    _responses,
    _believed,
    _signals,
    _by_start,
    _series_verdicts,
)
"""Step i brings a database of version i to i + 1. Steps are only ever added."""

LATEST = len(MIGRATIONS)


def version(connection: sqlite3.Connection) -> int:
    """The schema version of a database; 0 for an empty one."""
    return int(connection.execute("pragma user_version").fetchone()[0])


def migrate(connection: sqlite3.Connection) -> list[int]:
    """Bring a database to the latest version; the versions that were reached.

    Raises: StoreError for a database of a newer pronoia, which is left alone.
    """
    current = version(connection)
    if current > LATEST:
        raise StoreError(
            f"the database has schema version {current}, this pronoia knows {LATEST}; "
            "run the newer pronoia, or restore a backup"
        )
    if current == LATEST:
        return []
    import sqlite_utils

    db = sqlite_utils.Database(connection)
    reached: list[int] = []
    for step in range(current, LATEST):
        connection.execute("begin immediate")
        try:
            MIGRATIONS[step](db)
            connection.execute(f"pragma user_version = {step + 1}")
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise
        reached.append(step + 1)
    return reached
