"""The embedded store: durable, one transaction for all that wait, bounded, restorable."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from sidecar.config.model import StoreConfig
from sidecar.errors import StoreError, StoreFull
from sidecar.records import Delivery, Episode, Incident, OutboxMessage, Response
from sidecar.store import maintenance, responses, schema, sqlite
from sidecar.store.connection import FILE, connect, reading
from sidecar.store.sqlite import SqliteStore
from tests.unit.store.revisions import revision

SECOND = 1_000_000_000


@asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[tuple[SqliteStore, CollectorRegistry]]:
    registry = CollectorRegistry()
    store = await SqliteStore.open(StoreConfig(directory=directory), registry=registry)
    try:
        yield store, registry
    finally:
        await store.close()


def episode(i: int = 0, **changes: object) -> Episode:
    values: dict[str, object] = {
        "tenant": "default",
        "fingerprint": f"f{i}",
        "starts_at_ns": 10,
        "ends_at_ns": None,
        "labels": {"alertname": "Ü"},
        "annotations": {"a": 'q"'},
        "generator_url": "",
        "first_seen_ns": 11,
        "last_seen_ns": 12,
    }
    return Episode(**{**values, **changes})  # type: ignore[arg-type]


def delivery(n: int = 0, received_at_ns: int = 1) -> Delivery:
    return Delivery("default", "r", f"g{n}", "http://am", received_at_ns, b"h", 0, [], [])


@pytest.mark.parametrize("state", ["open", "resolved", None])
async def test_incidents_are_found_by_an_index_however_many_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    """Read and sorted whole, a hundred thousand took most of a second at each look at the page."""
    plan: list[str] = []

    @contextmanager
    def explained(path: Path, **how: float) -> Iterator[SimpleNamespace]:
        with reading(path, **how) as connection:

            def execute(sql: str, parameters: tuple[Any, ...]) -> sqlite3.Cursor:
                plan.extend(row[3] for row in connection.execute(f"explain query plan {sql}", parameters))
                return connection.execute(sql, parameters)

            yield SimpleNamespace(execute=execute)

    async with opened(tmp_path) as (store, _):
        monkeypatch.setattr(sqlite, "reading", explained)
        await store.incidents(state=state)
    of_incidents = [step for step in plan if " incidents" in step]
    assert of_incidents
    assert all("USING INDEX" in step and "state=?" in step for step in of_incidents), plan


async def test_many_writers_share_few_commits(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, registry):
        await asyncio.gather(*(store.commit_deliveries([delivery(i)], [episode(i)]) for i in range(500)))
        commits = registry.get_sample_value("pronoia_store_commits_total", {"result": "ok"})
        assert commits is not None
        assert commits < 100
        assert (await store.status())["rows"]["deliveries"] == 500


async def test_one_bad_piece_of_work_fails_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        bad = episode(1, labels=None)
        bad.tenant = object()  # type: ignore[assignment]
        results = await asyncio.gather(
            store.commit_deliveries([delivery()], [episode(0)]),
            store.commit_deliveries([delivery()], [bad]),
            store.commit_deliveries([delivery()], [episode(2)]),
            return_exceptions=True,
        )
        assert [type(r) for r in results] == [type(None), StoreError, type(None)]
        assert {e.fingerprint for e in await store.open_episodes()} == {"f0", "f2"}
        assert (await store.status())["rows"]["deliveries"] == 2, "nothing half-written"


async def test_no_room_is_told_apart_and_survived(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, registry):
        await store._writer.run(lambda c: c.execute("pragma max_page_count = 40").fetchall())
        big = episode(9, annotations={"a": "x" * 400_000})
        with pytest.raises(StoreFull, match="full"):
            await store.commit_deliveries([delivery()], [big])
        assert registry.get_sample_value("pronoia_store_commits_total", {"result": "full"}) == 1
        assert (await store.status())["rows"]["deliveries"] == 0, "nothing half-written"
        await store.commit_deliveries([delivery()], [episode()])
        assert len(await store.open_episodes()) == 1


@pytest.mark.parametrize("file", [FILE, f"{FILE}-wal"])
@pytest.mark.parametrize("put_in_its_place", [False, True], ids=["deleted", "replaced"])
async def test_nothing_is_stored_in_files_that_are_gone(
    tmp_path: Path, file: str, put_in_its_place: bool
) -> None:
    async with opened(tmp_path) as (store, registry):
        await store.commit_deliveries([delivery()], [episode()])
        gone = tmp_path / file
        body = gone.read_bytes()
        gone.rename(tmp_path / "elsewhere")
        if put_in_its_place:
            gone.write_bytes(body)
        with pytest.raises(StoreError, match="deleted or replaced"):
            await store.commit_deliveries([delivery(1)], [episode(1)])
        assert registry.get_sample_value("pronoia_store_commits_total", {"result": "error"}) == 1
        (tmp_path / "elsewhere").replace(gone)
        await store.commit_deliveries([delivery(1)], [episode(1)])
        assert len(await store.open_episodes()) == 2


async def test_what_was_committed_survives_without_a_close(tmp_path: Path) -> None:
    async with opened(tmp_path) as (store, _):
        await store.commit_deliveries([delivery()], [episode()])
        # As another process would see it after this one's death.
        copy = tmp_path / "copy"
        copy.mkdir()
        for file in tmp_path.glob(f"{FILE}*"):
            if not file.name.endswith("-shm"):
                (copy / file.name).write_bytes(file.read_bytes())
    async with opened(copy) as (store, _):
        assert await store.open_episodes() == [episode()]


async def test_retention_bounds_every_table(tmp_path: Path) -> None:
    config = StoreConfig(
        directory=tmp_path, retention_deliveries=10, retention_episodes=100, retention_revisions=10
    )
    store = await SqliteStore.open(config, registry=CollectorRegistry())
    old, new = 0, 995 * SECOND
    await store.commit_deliveries(
        [delivery(received_at_ns=old)] * 12_000 + [delivery(received_at_ns=new)],
        [
            episode(0, state="resolved", last_seen_ns=old),
            episode(1, last_seen_ns=old),
            episode(2, state="resolved", last_seen_ns=new),
        ],
    )
    await store.put_revision(revision(1, state="superseded"))
    await store.put_revision(revision(2))
    deleted = await store.prune(now_ns=1000 * SECOND)
    assert {table: n for table, n in deleted.items() if n} == {
        "deliveries": 12_000,
        "episodes": 1,
        "revisions": 1,
    }
    rows = (await store.status())["rows"]
    assert (rows["deliveries"], rows["episodes"], rows["revisions"]) == (1, 2, 1), (
        "what fires or is live stays"
    )
    await store.close()


async def test_what_was_told_of_an_open_incident_is_kept_however_long_it_lasts(tmp_path: Path) -> None:
    """After a restart it would be told of anew, and its end to nobody."""
    ends = {"chronic": "open", "over": "resolved"}
    incidents = [Incident(name, "default", "t", 0, 0, state=state) for name, state in ends.items()]
    messages = [
        OutboxMessage(f"chat/{name}/1", "chat", name, 1, "opened", "P2", 1, 0, 0, {}, state="sent")
        for name in ends
    ]
    async with opened(tmp_path) as (store, _):
        await store.put_incidents(incidents, [])
        await store.put_messages(messages)
        await store.prune(now_ns=31 * 86400 * SECOND)
        kept = await store.messages_of_recent_incidents(0)
    assert [one.incident_id for one in kept] == ["chronic"]


async def test_a_pruned_file_is_given_back_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.store.retention.VACUUM_PAGES", 50)
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    await store.commit_deliveries([], [episode(i, state="resolved", last_seen_ns=0) for i in range(10_000)])
    before = connect(store.path)
    (pages,) = before.execute("pragma page_count").fetchone()
    await store.prune(now_ns=10**18)
    (left,) = before.execute("pragma page_count").fetchone()
    before.close()
    await store.close()
    assert left < pages / 2


async def test_backup_while_in_use_and_restore(tmp_path: Path) -> None:
    target = tmp_path / "backup.db"
    async with opened(tmp_path / "a") as (store, _):
        await store.commit_deliveries([delivery()], [episode()])
        assert maintenance.backup(store.path, target) > 0
        with pytest.raises(StoreError, match="in use"):
            maintenance.restore(store.path, target)
    maintenance.restore(tmp_path / "b" / FILE, target)
    async with opened(tmp_path / "b") as (store, _):
        assert await store.open_episodes() == [episode()]
    maintenance.restore(tmp_path / "a" / FILE, target)
    assert (tmp_path / "a" / (FILE + ".before-restore")).exists()


def test_a_backup_that_is_not_there_or_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such file"):
        maintenance.restore(tmp_path / FILE, tmp_path / "none.db")
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as connection:
        connection.execute(f"pragma user_version = {schema.LATEST + 1}")
    connection.close()
    with pytest.raises(StoreError, match=f"newer pronoia \\(schema {schema.LATEST + 1}\\)"):
        maintenance.restore(tmp_path / FILE, newer)
    assert not (tmp_path / FILE).exists()


def test_a_damaged_backup_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "x.db"
    damaged.write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    with pytest.raises(StoreError, match="no intact database"):
        maintenance.restore(tmp_path / FILE, damaged)
    assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(
    ("before", "n_told"),
    [
        pytest.param(None, 0, id="a first start"),
        pytest.param(b"", 1, id="a full disk or a crash has left an empty file"),
    ],
)
async def test_a_database_that_is_begun_anew_in_place_of_an_empty_one_is_told(
    tmp_path: Path, before: bytes | None, n_told: int
) -> None:
    if before is not None:
        (tmp_path / FILE).write_bytes(before)
    for told in (n_told, 0):
        with capture_logs() as logs:
            async with opened(tmp_path):
                pass
        assert len([one for one in logs if "begun anew" in one["event"]]) == told


async def test_where_there_is_no_room_a_start_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(schema, "migrate", refuse)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(StoreError, match=r"disk I/O error \(4096 bytes are free there\)"):
        async with opened(tmp_path):
            pass


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute(f"pragma user_version = {schema.LATEST + 1}")
    connection.close()
    with pytest.raises(StoreError, match="run the newer pronoia"):
        await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())


def test_migrating_twice_does_nothing_the_second_time(tmp_path: Path) -> None:
    assert maintenance.migrate(tmp_path / FILE) == list(range(1, schema.LATEST + 1))
    assert maintenance.migrate(tmp_path / FILE) == []


async def test_episodes_of_before_are_kept_and_found_by_when_they_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = schema.MIGRATIONS.index(schema._by_start)
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:before])
        older.setattr(schema, "LATEST", before)
        async with opened(tmp_path) as (store, _):
            await store.commit_deliveries([], [episode(1), episode(2, state="resolved", incident_id="i1")])
    async with opened(tmp_path) as (store, _):
        assert await store.episodes("") == [episode(1), episode(2, state="resolved", incident_id="i1")]
        await store.commit_deliveries([], [episode(1, state="resolved", ends_at_ns=20)])
        assert [e.ends_at_ns for e in await store.episodes("order by fingerprint")] == [20, None]
    connection = connect(tmp_path / FILE)
    update = "update episodes set state = '' where tenant = '' and fingerprint = '' and starts_at_ns = 1"
    ((*_, plan),) = connection.execute(f"explain query plan {update}").fetchall()
    connection.close()
    assert "tenant=? AND starts_at_ns=? AND fingerprint=?" in plan, "new alerts lie beside each other"


def test_a_migration_that_breaks_off_leaves_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(db: object) -> None:
        db.table("half").create({"id": int})  # type: ignore[attr-defined]
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
    monkeypatch.setattr(schema, "LATEST", len(schema.MIGRATIONS))
    with pytest.raises(StoreError, match="disk I/O"):
        maintenance.migrate(tmp_path / FILE)
    found = maintenance.describe(tmp_path / FILE)
    assert found["schema_version"] == schema.LATEST - 1
    assert "half" not in found["rows"]


def test_no_database_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no database yet"):
        maintenance.describe(tmp_path / FILE)


def test_a_folder_s_name_may_hold_what_means_something_in_a_uri(tmp_path: Path) -> None:
    folder = tmp_path / "a#b?c%41"
    maintenance.migrate(folder / FILE)
    with reading(folder / FILE) as connection:
        assert connection.execute("pragma user_version").fetchone() == (schema.LATEST,)


async def test_what_is_read_is_decoded_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A storm's hundred thousand alerts, or a year's incidents, would hold every request for seconds."""
    here: dict[str, set[bool]] = {}

    def noted(make: Callable[[Sequence[Any]], Any]) -> Callable[[Sequence[Any]], Any]:
        def made(row: Sequence[Any]) -> Any:
            here.setdefault(make.__name__, set()).add(threading.current_thread() is threading.main_thread())
            return make(row)

        return made

    for module, name in ((sqlite, "_episode"), (sqlite, "_incident"), (responses, "_response")):
        monkeypatch.setattr(module, name, noted(getattr(module, name)))
    async with opened(tmp_path) as (store, _):
        await store.commit_deliveries([], [episode(incident_id="i")])
        await store.put_incidents([Incident("i", "default", "t", 1, 1)], [])
        await store.response_store.put_responses([Response("i", "default", 1)])
        found = await store.incident("i")
        assert found is not None
        assert found == ((await store.incidents())[0], await store.open_episodes())
        assert [await store.response_store.response("i")] == await store.response_store.responses()
    assert here == {"_episode": {False}, "_incident": {False}, "_response": {False}}
