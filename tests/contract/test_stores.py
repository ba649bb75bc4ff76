"""Every registered store keeps the promises of `sidecar.store.protocol`; so does one without SQLite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from sidecar.config.model import StoreConfig
from sidecar.config.webhook import WebhookConfig
from sidecar.events import EventBus
from sidecar.records import (
    Cause,
    Delivery,
    Episode,
    Feedback,
    Incident,
    OutboxMessage,
    Response,
    SeriesVerdict,
    Signal,
    TimelineEntry,
)
from sidecar.store import registry
from sidecar.store.protocol import Opener, Store
from tests.contract.memory_store import MemoryStore
from tests.unit.store.revisions import revision
from tests.unit.webhooks.deliveries import EPOCH, alert, delivery
from tools.registry_names import store_names
from webhooks.pipeline import AlertsLoop

ALL: dict[str, Opener] = {**registry.STORES, "memory": MemoryStore}
Open = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture(params=list(ALL))
def opened(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens the same store each time that it is called."""
    monkeypatch.setattr(registry, "STORES", ALL)
    config = StoreConfig(directory=tmp_path).model_copy(update={"kind": request.param})

    @asynccontextmanager
    async def open_it() -> AsyncIterator[Store]:
        store = await registry.open_store(config, registry=CollectorRegistry())
        assert registry.store_is_there(config)
        try:
            yield store
        finally:
            await store.close()

    assert not registry.store_is_there(config)
    return open_it


def episode(i: int = 0, **changes: object) -> Episode:
    values: dict[str, Any] = {
        "tenant": "default",
        "fingerprint": f"f{i}",
        "starts_at_ns": 10 * i,
        "ends_at_ns": None,
        "labels": {"alertname": "Ü"},
        "annotations": {"a": 'q"\u2028\0'},
        "generator_url": "",
        "first_seen_ns": 10 * i + 1,
        "last_seen_ns": 10 * i + 2,
    }
    return Episode(**{**values, **changes})


def over(i: int, **changes: object) -> Episode:
    return episode(i, **{"state": "resolved", "ends_at_ns": 10 * i + 2, **changes})


def incident(name: str, at_ns: int = 5, **changes: Any) -> Incident:
    return Incident(name, "default", "t", at_ns, at_ns, **changes)


def message(incident_id: str, number: int, **changes: Any) -> OutboxMessage:
    values: dict[str, Any] = {
        "target": "chat",
        "kind": "opened",
        "priority": "P2",
        "created_at_ns": number,
        "due_at_ns": 0,
        "document": {"ü": [1, None]},
    }
    values |= changes
    key = f"{values['target']}/{incident_id}/{number}"
    return OutboxMessage(key=key, incident_id=incident_id, number=number, n_episodes=1, **values)


def ids(found: list[Episode]) -> list[str]:
    return [one.fingerprint for one in found]


def test_the_configuration_names_the_registered_stores() -> None:
    for path, text in store_names().items():
        assert path.read_text() == text, "run: python -m tools.registry_names"
    with pytest.raises(ValidationError, match="sqlite"):
        StoreConfig.model_validate({"kind": "sqlight"})


async def test_what_was_put_is_there_when_it_is_opened_again(opened: Open) -> None:
    one = incident("i1", causes=[Cause("f", "s", 1.5, ["first"])])
    member = episode(1, incident_id="i1", bonds={"all": 0.5})
    async with opened() as store:
        await store.commit_deliveries([], [episode(1), over(2)])
        await store.put_incidents([one], [member])
        await store.put_messages([message("i1", 1)])
        await store.put_revision(revision(1))
        await store.put_note("n", b"\0\xff")
    async with opened() as store:
        assert await store.open_episodes() == [member]
        assert await store.incident("i1") == (one, [member])
        assert await store.incident_record("i1") == one
        assert await store.messages_of("i1") == [message("i1", 1)]
        assert await store.revisions() == [revision(1)]
        assert await store.note("n") == b"\0\xff"
        nothing = (await store.incident("none"), await store.incident_record("none"), await store.note(""))
        assert nothing == (None, None, None)


async def test_what_comes_back_is_the_caller_s(opened: Open) -> None:
    async with opened() as store:
        put = incident("i1")
        await store.put_incidents([put], [])
        put.title = "changed later"
        (found,) = await store.incidents()
        found.shared_labels["x"] = "y"
        assert await store.incident_record("i1") == incident("i1")


async def test_an_alert_is_one_episode_however_often_it_is_told(opened: Open) -> None:
    """The intake says how it stands, the alerts loop which incident it is in; neither undoes the other."""
    async with opened() as store:
        await store.commit_deliveries([], [episode(1)])
        await store.put_incidents([], [episode(1, incident_id="i1")])
        await store.commit_deliveries([], [over(1, deliveries=2)])
        # The loop has not yet heard that it ended.
        await store.put_incidents([incident("i2")], [episode(1, incident_id="i2")])
        assert await store.recent_episodes(0) == [over(1, incident_id="i2", deliveries=2)]


async def test_episodes_are_found_by_when_they_were_and_whether_they_are_over(opened: Open) -> None:
    async with opened() as store:
        members = [over(1, incident_id="open"), over(2, incident_id="past")]
        await store.commit_deliveries([], [episode(4), over(3), *members, episode(0, state="unknown")])
        await store.put_incidents([incident("open"), incident("past", state="resolved")], members)
        assert ids(await store.open_episodes()) == ["f0", "f4"]
        assert ids(await store.recent_episodes(32)) == ["f0", "f3", "f4"]
        assert ids(await store.older_of_open_incidents(32)) == ["f1"]
        assert ids(await store.episodes_begun(20, limit=2)) == ["f2", "f3"]
        assert ids(await store.episodes_heard(21, limit=2)) == ["f2", "f3"]


async def test_the_most_urgent_incident_is_not_behind_any_number_of_newer_ones(opened: Open) -> None:
    """Nor behind one that is over, nor one that went into another."""
    rows = [("old", "open", "P1"), ("over", "resolved", "P0"), ("gone", "merged", "P0")]
    rows += [(f"new{n}", "open", "P3") for n in range(5)]
    async with opened() as store:
        await store.put_incidents(
            [incident(name, at, state=state, priority=p) for at, (name, state, p) in enumerate(rows)], []
        )

        async def asked(**how: Any) -> list[str]:
            return [one.incident_id for one in await store.incidents(**how)]

        assert await asked(state="open", limit=3) == ["new4", "new3", "new2"]
        assert await asked(limit=7) == ["new4", "new3", "new2", "new1", "new0", "over", "old"]
        assert await asked(state="open", limit=3, urgent_first=True) == ["old", "new4", "new3"]
        assert await asked(limit=3, urgent_first=True) == ["over", "old", "new4"]


async def test_messages_come_in_the_order_in_which_people_need_them(opened: Open) -> None:
    async with opened() as store:
        late = message("late", 1, created_at_ns=9, priority="P0", due_at_ns=50)
        held = [message("i1", 1, due_at_ns=99), message("i1", 2, created_at_ns=2)]
        other = [message("i2", 1, created_at_ns=3, target="mail"), message("i2", 2, created_at_ns=4)]
        await store.put_messages([*other, late, *held, message("i3", 1, created_at_ns=5, state="sent")])
        # The first of i1 waits, and so does what follows it.
        assert await store.messages_due(10, limit=9) == other
        assert await store.messages_due(50, limit=2) == [late, other[0]]
        assert await store.messages_due(10, limit=9, target="mail") == other[:1]
        await store.put_messages([message("i1", 1, state="sent")])
        assert await store.messages_due(10, limit=1) == held[1:]
        await store.put_incidents([incident("i1"), incident("i2", 3, state="resolved")], [])
        recent = [(one.incident_id, one.number) for one in await store.messages_of_recent_incidents(4)]
        assert recent == [("i1", 1), ("i1", 2), ("i2", 2), ("i3", 1), ("late", 1)]
        # One that ended lately began with a message long ago.
        await store.put_incidents([incident("i2", 4, state="resolved")], [])
        assert len(await store.messages_of_recent_incidents(4)) == len(recent) + 1


async def test_revisions_are_replaced_and_the_newest_come_first(opened: Open) -> None:
    async with opened() as store:
        await store.put_revision(revision(1), revision(2, group="h"))
        await store.put_revision(revision(1, state="superseded"))
        assert [one.revision_id for one in await store.revisions()] == ["r2", "r1"]
        assert await store.revisions(group="g") == [revision(1, state="superseded")]
        assert await store.revisions(state="superseded", limit=1) == [revision(1, state="superseded")]
        assert await store.revisions(group="g", state="live") == []


async def test_what_people_did_to_the_parts_of_an_incident_is_on_its_timeline(opened: Open) -> None:
    def entry(incident_id: str, at_ns: int, actor: str = "pronoia") -> TimelineEntry:
        return TimelineEntry(incident_id, at_ns, "comment", actor, "ü")

    async with opened() as store:
        kept = store.response_store
        whole, part = Response("i1", "default", 3, parts=["i0"]), Response("i0", "default", 2)
        entries = [
            entry("i1", 5),
            entry("i1", 1),
            entry("i0", 3, "ann"),
            entry("i0", 4),
            entry("i9", 2, "bo"),
        ]
        await kept.put_responses([part], entries[2:])
        await kept.put_responses([whole], entries[:2])
        assert await kept.timeline("i1") == [entries[1], entries[2], entries[0]]
        assert await kept.responses() == [whole, part]
        assert await kept.responses(since_ns=3) == [whole] == [await kept.response("i1")]
        await store.put_incidents([incident("i0"), incident("i1", state="resolved")], [])
        assert await kept.responses(open_only=True) == [part]


async def test_the_same_verdict_of_the_same_person_counts_once(opened: Open) -> None:
    async with opened() as store:
        given = [Feedback("i1", "default", at, "noise", who, "R") for at, who in ((9, "ann"), (4, "bo"))]
        await store.response_store.put_feedback(given)
        await store.response_store.put_feedback([Feedback("i1", "default", 10, "noise", "ann", "R")])
        assert await store.response_store.feedback() == given[::-1]
        assert await store.response_store.feedback(since_ns=5) == given[:1]


async def test_signals_are_kept_once_and_since_when_is_known(opened: Open) -> None:
    late, early = Signal(30, "change", "cart"), Signal(10, "anomaly", "cart", 2.5)
    async with opened() as store:
        assert await store.signal_store.since() is None
        for now_ns in (5, 7):
            await store.signal_store.begin(now_ns)
            await store.signal_store.put([late, early])
        assert await store.signal_store.since() == 5
        assert await store.signal_store.get() == [early, late]
        assert await store.signal_store.get(since_ns=11) == [late]


async def test_starts_of_episodes_are_the_newest_and_those_of_their_incidents(opened: Open) -> None:
    async with opened() as store:
        members = [episode(n, incident_id="late") for n in range(1, 4)]
        await store.commit_deliveries([], [*members, *(episode(n) for n in range(4, 7))])
        await store.put_incidents([incident("late", 35)], members)

        async def asked(**how: int) -> list[int]:
            return [one.starts_at_ns for one in await store.signal_store.alert_starts(**{"limit": 10, **how})]

        assert await asked(since_ns=50) == [50, 60]
        assert await asked(since_ns=35) == [10, 20, 30, 40, 50, 60]
        assert await asked(limit=2) == [50, 60]
        assert (await store.signal_store.alert_starts(limit=1))[0].labels == '{"alertname":"Ü"}'


async def test_a_verdict_on_a_series_is_taken_back_once(opened: Open) -> None:
    late, early = (
        SeriesVerdict("load", {"pod": "ü"}, 7, "value", verdict, "ann", at_ns)
        for verdict, at_ns in (("noise", 20), ("useful", 10))
    )
    async with opened() as store:
        first = await store.verdict_store.put(late)
        await store.verdict_store.put(early)
    async with opened() as store:
        assert [one.verdict for one in await store.verdict_store.everything()] == ["useful", "noise"]
        assert await store.verdict_store.take_back(first)
        assert not await store.verdict_store.take_back(first)
        assert [one.labels for one in await store.verdict_store.everything()] == [{"pod": "ü"}]


async def test_who_sends_is_known_from_deliveries(opened: Open) -> None:
    def sent(receiver: str, url: str) -> Delivery:
        return Delivery("default", receiver, "g", url, 1, b"h", 0, [], [])

    async with opened() as store:
        await store.commit_deliveries([sent("r", "http://a"), sent("s", "http://b"), sent("t", "")], [])
        assert await store.senders() == ({"default": {"r", "s"}}, {"http://a", "http://b"})


async def test_overlapping_calls_all_succeed(opened: Open) -> None:
    async with opened() as store:
        await asyncio.gather(*(store.commit_deliveries([], [episode(i)]) for i in range(50)))
        assert len(await store.open_episodes()) == 50


async def test_alerts_become_incidents_that_a_restart_knows(opened: Open) -> None:
    """The loop itself, on any store."""
    now = EPOCH / 1e9 + 60.0

    def loop_over(store: Store) -> AlertsLoop:
        config = WebhookConfig(incident_hold=0.0)
        return AlertsLoop(store, bus=EventBus(), config=config, registry=CollectorRegistry(), now=lambda: now)

    async with opened() as store:
        loop = loop_over(store)
        await loop.open()
        await loop.intake.accept(delivery(alert("Down", service="db"), at_seconds=60.0))
        await loop.stop()
    async with opened() as store:
        (one,) = await store.incidents(state="open")
        (member,) = await store.open_episodes()
        assert member.incident_id == one.incident_id
        loop = loop_over(store)
        await loop.open()
        assert list(loop.placing.known) == [one.incident_id]
        await loop.stop()
