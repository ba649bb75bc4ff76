"""Two people at once, a locked store, a process that must end: nothing is lost or told twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.errors import StoreError
from sidecar.records import Response, TimelineEntry
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.respond.incidents import desk_over, incident
from webhooks.respond.lifecycle import expire
from webhooks.respond.spare import FILE, SpareFile


class Bench:
    """A desk over a real store that can be held back or locked."""

    def __init__(self, folder: Path, state: str = "open") -> None:
        self.folder, self.state = folder, state
        self.go_on, self.locked = asyncio.Event(), False
        self.reached = asyncio.Event()
        self.go_on.set()

    async def __aenter__(self) -> Bench:
        self.store = await SqliteStore.open(StoreConfig(directory=self.folder), registry=CollectorRegistry())
        await self.store.put_incidents([incident(state=self.state)], [])
        self._put = self.store.response_store.put_responses
        self.store.response_store.put_responses = self.put_responses  # type: ignore[method-assign]
        self.desk = desk_over(self.store, spare=SpareFile(self.folder))
        await self.desk.open([])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.desk.stop()
        await self.store.close()

    async def put_responses(
        self, responses: Sequence[Response], entries: Sequence[TimelineEntry] = ()
    ) -> None:
        self.reached.set()
        await self.go_on.wait()
        if self.locked:
            raise StoreError("database is locked")
        await self._put(responses, entries)

    async def kinds(self) -> list[str]:
        return [entry.kind for entry in await self.store.response_store.timeline("i1")]


async def test_what_is_done_to_an_open_incident_waits_for_none_of_its_alerts(tmp_path: Path) -> None:
    """Of a storm they take seconds to read, and Slack gives a pressed button three."""
    read: list[str] = []

    async def find(incident_id: str) -> None:
        read.append(incident_id)

    async with Bench(tmp_path) as bench:
        bench.desk._find = find
        bench.desk.observe([incident()])
        await bench.desk.do("i1", "acknowledge", actor="ann")
        assert (bench.desk.status(incident()), read) == ("acknowledged", [])


async def test_what_two_people_do_at_once_is_both_done(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.desk.observe([incident()])
        await asyncio.gather(
            bench.desk.do("i1", "acknowledge", actor="ann"),
            bench.desk.do("i1", "assign", actor="bob", text="carl"),
            bench.desk.do("i1", "fix", actor="dan", text="restarted"),
        )
        kept = await bench.store.response_store.response("i1")
    assert kept is not None
    assert (kept.acknowledged_by, kept.assignee, kept.fix) == ("ann", "carl", "restarted")


async def test_what_people_do_is_not_undone_by_what_waited_to_be_written(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.desk.observe([incident()])
        bench.go_on.clear()
        doing = asyncio.create_task(bench.desk.do("i1", "acknowledge", actor="ann"))
        await asyncio.wait_for(bench.reached.wait(), 10)
        # Meanwhile the audience finds that an older acknowledgement has expired.
        held = bench.desk.response("i1")
        assert held is not None
        bench.desk.change(expire(held, 1), "unacknowledged", "it has expired")
        bench.go_on.set()
        await doing
        assert bench.desk.status(incident()) == "acknowledged"
    async with Bench(tmp_path) as again:
        kept = await again.store.response_store.response("i1")
    assert kept is not None
    assert kept.acknowledged_by == "ann"


async def test_what_goes_into_an_incident_while_somebody_takes_it_on_is_not_forgotten(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.desk.observe([incident(), incident("i2")])
        await bench.desk._ledger._flush()
        bench.go_on.clear()
        bench.reached.clear()
        doing = asyncio.create_task(bench.desk.do("i1", "acknowledge", actor="ann"))
        await asyncio.wait_for(bench.reached.wait(), 10)
        bench.desk.observe([incident("i2", state="merged", merged_into="i1")])
        bench.go_on.set()
        done = await doing
        assert (done.acknowledged_by, list(bench.desk.parts("i1"))) == ("ann", ["i2"])
    async with Bench(tmp_path) as again:
        kept = await again.store.response_store.response("i1")
    assert kept is not None
    assert (kept.acknowledged_by, kept.parts) == ("ann", ["i2"])


async def test_what_is_being_written_at_stop_is_written_once(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.go_on.clear()
        bench.desk.observe([incident()])
        await asyncio.wait_for(bench.reached.wait(), 10)
        stopping = asyncio.create_task(bench.desk.stop())
        await asyncio.sleep(0)
        bench.desk.note("i1", "late", "while it stops")
        bench.go_on.set()
        await stopping
        assert await bench.kinds() == ["opened", "late"]


async def test_what_a_locked_store_did_not_take_at_stop_is_stored_at_the_next_start(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.locked = True
        bench.desk.observe([incident()])
        bench.desk.note("i1", "late", "just before the end")
    assert (tmp_path / FILE).exists()
    async with Bench(tmp_path) as locked_again:
        assert await locked_again.kinds() == ["opened", "late"]
        assert not (tmp_path / FILE).exists()
        kept = await locked_again.store.response_store.response("i1")
    assert kept is not None


@pytest.mark.parametrize("left", [b"", b"[]", b'{"entries": 7}'])
async def test_a_file_that_cannot_be_read_hinders_no_start(tmp_path: Path, left: bytes) -> None:
    (tmp_path / FILE).write_bytes(left)
    async with Bench(tmp_path) as bench:
        assert await bench.kinds() == []
    assert (tmp_path / FILE).read_bytes() == left, "for somebody to look at"


async def test_what_was_taken_on_before_a_restart_stays_so_though_it_is_heard_of_late(tmp_path: Path) -> None:
    """Incidents that are held are not among those that are open at the start."""
    async with Bench(tmp_path) as bench:
        bench.desk.observe([incident()])
        await bench.desk.do("i1", "acknowledge", actor="ann")
    async with Bench(tmp_path) as again:
        again.desk.observe([incident()])
        assert again.desk.status(incident()) == "acknowledged"
        again.desk.observe([incident(state="resolved")])
        again.desk.observe([incident()])
        assert again.desk.status(incident()) == "reopened"


@pytest.mark.parametrize("then", ["it is heard of", "the process ends", "it is over"])
async def test_what_is_taken_on_before_it_is_heard_of_stays_so(tmp_path: Path, then: str) -> None:
    """What usually resolves by itself is stored, and seen by people, minutes before the desk hears of it."""
    async with Bench(tmp_path) as bench:
        await bench.desk.do("i1", "acknowledge", actor="ann")
        if then == "it is heard of":
            bench.desk.observe([incident()])
            assert bench.desk.status(incident()) == "acknowledged"
        elif then == "it is over":
            bench.desk.observe([incident(state="resolved")])
            bench.desk.observe([incident()])
            assert bench.desk.status(incident()) == "reopened"
    async with Bench(tmp_path) as again:
        again.desk.observe([incident()])
        assert again.desk.status(incident()) == ("reopened" if then == "it is over" else "acknowledged")


async def test_what_people_wrote_outlives_an_end_a_restart_and_a_new_beginning(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        bench.desk.observe([incident()])
        await bench.desk.do("i1", "fix", actor="ann", text="restarted it")
        bench.desk.observe([incident(state="resolved")])
        await bench.store.put_incidents([incident(state="resolved")], [])
    async with Bench(tmp_path, state="resolved") as again:
        again.desk.observe([incident()])
        await again.desk._ledger._flush()
        kept = await again.store.response_store.response("i1")
    assert kept is not None
    assert (kept.fix, kept.n_reopened) == ("restarted it", 1)
