"""What people did carries over when incidents become one, or one becomes two; and old ids still work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from sidecar.app.deeds import Deeds
from sidecar.config.model import StoreConfig
from sidecar.config.response import SilencesConfig
from sidecar.records import Incident, Response
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.respond.incidents import NOW, Clock, Held, desk_over, episode, incident
from webhooks.correlate.by_hand import ByHand
from webhooks.respond.ack_silences import AckSilences
from webhooks.respond.joining import MAX_PARTS, Part, joined, stays
from webhooks.respond.lifecycle import ActionError, act, status_of, waited_seconds
from webhooks.respond.silences import SilenceMetrics, Silencer

NOW_NS = int(NOW * 1e9)


def part(name: str, *actions: str, asks: bool = True, priority: str = "P1", by: str = "ann") -> Part:
    """An incident after these actions of `by`; a text goes with `action:text`."""
    one, kept = incident(name, priority=priority), Response(name, "default", NOW_NS)
    for action in actions:
        done, _, text = action.partition(":")
        kept, _ = act(kept, one, done, actor=by, text=text, now_ns=NOW_NS)
    return Part(one, kept, asks)


ACK, MIT = "acknowledge", "mitigate:rolled back"


@pytest.mark.parametrize(
    ("into", "gone", "status"),
    [
        pytest.param(part("s", ACK), part("g", ACK), "acknowledged", id="both are taken on"),
        pytest.param(part("s", ACK), part("g"), "open", id="what joins asks for somebody"),
        pytest.param(part("s"), part("g", ACK), "open", id="what stays asks for somebody"),
        pytest.param(part("s", ACK), part("g", asks=False), "acknowledged", id="of what joins nobody knew"),
        pytest.param(part("s", asks=False), part("g", ACK), "acknowledged", id="of what stays nobody knew"),
        pytest.param(part("s", ACK), part("g", priority="P3"), "acknowledged", id="what joins is no page"),
        pytest.param(part("s", priority="P3"), part("g", ACK), "acknowledged", id="what stays is no page"),
        pytest.param(
            part("s", ACK, priority="P2"), part("g", priority="P2"), "open", id="as urgent, and no page"
        ),
        pytest.param(part("s", ACK, priority="P0"), part("g"), "open", id="a page that joins a worse one"),
        pytest.param(part("s", MIT), part("g", ACK), "acknowledged", id="mitigated and acknowledged"),
        pytest.param(part("s", ACK), part("g", MIT), "acknowledged", id="acknowledged and mitigated"),
        pytest.param(part("s", MIT), part("g", MIT), "mitigated", id="both are mitigated"),
        pytest.param(part("s"), part("g"), "open", id="neither"),
        pytest.param(part("s", ACK, asks=False), part("g"), "open", id="taken on though nobody was told"),
    ],
)
def test_the_whole_is_as_taken_on_as_its_parts_allow(into: Part, gone: Part, status: str) -> None:
    response = joined(into, gone, now_ns=NOW_NS + 1)
    assert status_of(into.incident, response) == status
    assert bool(response.open_again) is (into.level > 0 and status == "open")
    assert response.parts == ["g"]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        pytest.param(part("a"), part("b", asks=False), "a", id="the one that people know"),
        pytest.param(
            part("a", ACK, asks=False), part("b", asks=False), "a", id="taken on before it was told"
        ),
        pytest.param(part("a", ACK), part("b"), "b", id="the one that asks goes on asking"),
        pytest.param(part("a", ACK), part("b", priority="P3"), "a", id="unless it is no page"),
        pytest.param(part("a", MIT), part("b", ACK), "b", id="the one that is not mitigated"),
        pytest.param(part("a"), part("b"), None, id="both ask"),
        pytest.param(part("a", ACK), part("b", ACK), None, id="both are taken on"),
        pytest.param(part("a", asks=False), part("b", asks=False), None, id="nobody knows of either"),
    ],
)
def test_the_one_that_stays(one: Part, other: Part, expected: str | None) -> None:
    assert stays(one, other) == stays(other, one) == expected
    if expected is not None:
        into, gone = (one, other) if one.incident.incident_id == expected else (other, one)
        assert joined(into, gone, now_ns=NOW_NS).open_again == "", "nobody hears that nobody has it"


def test_what_was_written_of_either_is_kept() -> None:
    into = part("s", "fix:restarted it", by="bob")
    gone = part("g", ACK, "cause:cdn", "fix:waited", "noise")
    response = joined(into, gone, now_ns=NOW_NS)
    assert (response.assignee, response.cause, response.fix) == ("ann", "cdn", "restarted it")
    assert response.noise is None, "noise was said of the other's alerts only"
    many = joined(into, Part(gone.incident, Response("g", "default", 0, parts=["x"] * 999), True), now_ns=0)
    assert len(many.parts) == MAX_PARTS


@pytest.mark.parametrize(("asks", "assignee"), [(True, "carl"), (False, "ann")])
def test_who_took_it_on_has_it_where_nobody_knew_of_the_other(asks: bool, assignee: str) -> None:
    into = part("s", "assign:carl", by="bob", asks=asks)
    assert joined(into, part("g", ACK), now_ns=NOW_NS).assignee == assignee


def test_an_escalation_goes_on_where_an_acknowledgement_falls_away() -> None:
    taken = joined(part("s", ACK), part("g"), now_ns=NOW_NS + 300 * 10**9)
    assert waited_seconds(taken, since=NOW - 60, now=NOW + 400) == 160.0


class Office:
    """A desk over a real store, with a list of incidents that people were told of."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.told: set[str] = set()
        self.clock = Clock()
        self.done: list[tuple[str, str]] = []

    async def open(self) -> None:
        self.desk = desk_over(self.store, told=self.told.__contains__, now=self.clock)
        self.desk.on_action(lambda one, action: self.done.append((one.incident_id, action)))
        await self.desk.open(await self.store.incidents(state="open"))

    async def see(self, *incidents: Incident, told: bool = True) -> None:
        self.told |= {one.incident_id for one in incidents if told and one.state == "open"}
        await self.store.put_incidents(list(incidents), [])
        self.desk.observe(incidents)

    def status(self, name: str) -> str:
        found = self.desk.open_incident(name)
        return self.desk.status(found) if found is not None else ""

    async def timeline(self, name: str) -> list[tuple[str, str, str, str]]:
        ledger = self.desk._ledger
        while ledger._entries or ledger._responses or ledger._writing is not None:
            await ledger._flush()  # A write that is under way has not what was added since.
        found = await self.store.response_store.timeline(name)
        return [(one.incident_id, one.kind, one.actor, one.text) for one in found]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    one = Office(store)
    await one.open()
    yield one
    await one.desk.stop()
    await store.close()


def gone(name: str, into: str, **fields: Any) -> Incident:
    return incident(name, state="merged", merged_into=into, ended_at_ns=NOW_NS, **fields)


async def test_who_took_both_on_has_the_whole(office: Office) -> None:
    await office.see(incident("a"), incident("b"))
    await office.desk.do("a", "acknowledge", actor="ann")
    await office.desk.do("a", "comment", actor="ann", text="it is the cdn")
    await office.desk.do("b", "acknowledge", actor="bob")
    await office.see(gone("a", "b"), incident("b", n_episodes=6))
    assert office.status("b") == "acknowledged"
    story = await office.timeline("b")
    assert ("a", "comment", "ann", "it is the cdn") in story, "what was said of the part is said of the whole"
    assert ("b", "merge", "pronoia", "a went into it, which ann had taken on") in story


async def test_what_nobody_has_is_asked_for_again_with_the_reason(office: Office) -> None:
    await office.see(incident("a"), incident("b"))
    await office.desk.do("b", "acknowledge", actor="bob")
    await office.see(gone("a", "b"), incident("b", n_episodes=6))
    assert office.status("b") == "open"
    assert ("b", "unacknowledged", "pronoia", "incident a went into it, which nobody had taken on") in (
        await office.timeline("b")
    )
    await office.desk.do("b", "acknowledge", actor="bob")
    kept = office.desk.response("b")
    assert kept is not None
    assert kept.open_again == ""


@pytest.mark.parametrize("known_before", [False, True], ids=["new", "over until now"])
async def test_one_that_opens_with_what_went_into_it_is_taken_on_as_that_was(
    office: Office, known_before: bool
) -> None:
    await office.see(incident("a"))
    if known_before:
        await office.see(incident("b"))
        await office.see(incident("b", state="resolved"))
    await office.desk.do("a", "acknowledge", actor="ann")
    await office.see(gone("a", "b"), incident("b", n_episodes=9), told=False)
    assert office.status("b") == "acknowledged"
    kept = office.desk.response("b")
    assert kept is not None
    assert (kept.acknowledged_by, kept.n_reopened) == ("ann", int(known_before))


async def test_it_carries_over_several_merges_and_a_restart(office: Office) -> None:
    await office.see(incident("a"), incident("b"))
    await office.desk.do("a", "acknowledge", actor="ann")
    await office.desk.stop()
    await office.open()
    await office.see(gone("a", "b2"), gone("b2", "c"), incident("c"), told=False)
    assert office.status("c") == "acknowledged", "the second was never heard of"
    await office.see(gone("c", "d"), incident("d"), told=False)
    assert (office.status("d"), list(office.desk.parts("d"))) == ("acknowledged", ["c", "a"])


async def test_of_two_incidents_the_one_that_is_open_and_known_stays(office: Office) -> None:
    await office.see(incident("told"))
    await office.see(incident("new"), incident("over"), told=False)
    await office.see(incident("over", state="resolved"))
    found = [office.desk.stays(one, "told") for one in ("new", "over", "never")]
    assert found == ["told"] * 3
    assert office.desk.stays("new", "never") is None
    await office.desk.do("new", "acknowledge", actor="ann")
    assert office.desk.stays("never", "new") == "new"


async def test_what_is_split_off_stays_with_whoever_has_it(office: Office) -> None:
    await office.see(incident("a"))
    await office.desk.do("a", "acknowledge", actor="ann")
    await office.see(incident("a"), incident("n", split_from="a"))
    assert office.status("n") == "acknowledged"


async def test_an_old_id_is_as_good_as_the_new_one(office: Office) -> None:
    await office.see(incident("a"), incident("b"))
    await office.see(gone("a", "b"), gone("b", "c"), incident("c"))
    done = await office.desk.do("a", "acknowledge", actor="ann")
    assert (done.incident_id, office.status("c")) == ("c", "acknowledged")
    assert office.done == [("c", "acknowledge")]
    assert ("c", "acknowledge", "ann", "(of a, which went into it)") in await office.timeline("a") + (
        await office.timeline("c")
    )
    for of_its_alerts in ("noise", "mitigate"):
        with pytest.raises(ActionError, match="went into incident b"):
            await office.desk.do("a", of_its_alerts, actor="ann")
    with pytest.raises(KeyError):
        await office.desk.do("nowhere", "acknowledge", actor="ann")
    assert await office.desk.home("a") == "c"


async def test_a_button_pressed_twice_is_pressed_once(office: Office) -> None:
    await office.see(incident("a"))
    first = await office.desk.do("a", "acknowledge", actor="ann")
    office.clock.now += 2
    assert await office.desk.do("a", "acknowledge", actor="ann") == first
    assert office.done == [("a", "acknowledge")]
    await office.desk.do("a", "acknowledge", actor="bob")
    office.clock.now += 60
    again = await office.desk.do("a", "acknowledge", actor="bob")
    assert again.acknowledged_at_ns == int(office.clock.now * 1e9), "later it is said anew"
    assert [kind for _, kind, _, _ in await office.timeline("a")].count("acknowledge") == 3


class Keeper:
    """Acknowledgements' silences over an Alertmanager's, for incidents with a status and parts."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.held = Held(self.clock)
        config = SilencesConfig(acknowledge=True, duration=900)
        self.silencer = Silencer(
            {"am": self.held}, config, metrics=SilenceMetrics(CollectorRegistry()), now=self.clock
        )
        self.open: dict[str, str] = {}
        self.parts: dict[str, list[str]] = {}
        self.keeper = AckSilences(
            self.silencer,
            incidents=lambda: [incident(one, shared_labels=self.shared.get(one, {})) for one in self.open],
            status=lambda one: self.open[one.incident_id],
            parts=lambda one: self.parts.get(one, []),
            episodes=self._episodes,
            note=lambda *said: self.said.append(said),
            config=config,
        )
        self.said: list[tuple[str, str, str]] = []
        self.shared = {one: {"service": one} for one in "ab"}

    async def _episodes(self, incident_id: str) -> list[Any]:
        return [episode(f"Rule{incident_id}", home=incident_id)]

    async def active(self) -> set[str]:
        found = await self.held.silences()
        return {one["comment"].split(":")[0] for one in found if one["status"]["state"] == "active"}


async def test_what_is_silenced_with_an_acknowledgement_is_said_once_and_so_is_why_not() -> None:
    one = Keeper()
    one.open = {"a": "acknowledged"}
    one.held.down = True
    with capture_logs() as logs:
        for _ in range(3):
            await one.keeper.look()
        one.held.down = False
        await one.keeper.look()
        one.shared = {}
        one.open = {"a": "acknowledged", "b": "acknowledged"}
        for _ in range(3):
            await one.keeper.look()
    assert [(said["event"], said.get("incident")) for said in logs] == [
        ("alertmanager not reached for silences", None),
        ("silence not changed, will try again", "a"),
        ("silence not changed, will try again", "b"),
    ]
    why = "its alerts share no label; a silence would hide others too"
    assert one.said == [
        ("a", "silence", 'while it is acknowledged, of alertname="Rulea", service="a"'),
        ("b", "silence", f"none while it is acknowledged: {why}"),
    ]


async def test_silences_go_with_what_went_into_another_one() -> None:
    one = Keeper()
    one.open = {"a": "acknowledged", "b": "acknowledged"}
    await one.keeper.look()
    assert await one.active() == {"incident a", "incident b"}
    one.open, one.parts = {"b": "acknowledged"}, {"b": ["a"]}
    await one.keeper.look()
    one.clock.now += 600
    await one.keeper.look()
    one.clock.now += 600
    assert await one.active() == {"incident a", "incident b"}, "extended with it"
    one.open = {"b": "open"}
    await one.keeper.look()
    assert await one.active() == set(), "and ended with it"


async def test_silences_are_ended_by_the_old_id_and_by_the_new_one(office: Office) -> None:
    one = Keeper()
    deeds = Deeds(office.store, office.desk, one.silencer, no_hands)
    await office.see(incident("a"), incident("b"))
    for name in ("a", "b"):
        await one.silencer.silence(
            incident(name, shared_labels={"service": name}), [episode("R")], seconds=60, why="x"
        )
    await office.see(gone("a", "b"), incident("b"))
    assert await deeds.unsilence("a", "ann", "") == {"ended": 2}
    assert await one.active() == set()
    for deed in (deeds.unsilence, deeds.silence, deeds.merge, deeds.split):
        with pytest.raises(KeyError):
            await deed("nowhere", "ann", "b")
    with pytest.raises(ActionError, match="no incident 'nowhere'"):
        await deeds.merge("b", "ann", "nowhere")


class Hands:
    """What is done by hand, noted: the first id stays, what is split off is `new`."""

    def __init__(self) -> None:
        self.done: list[tuple[str, ...]] = []

    def merge(self, incident_id: str, into: str) -> str:
        self.done.append((incident_id, into))
        return incident_id

    def split(self, incident_id: str, names: list[str]) -> str:
        self.done.append((incident_id, *names))
        return "new"


async def test_an_old_id_is_as_good_for_merging_and_splitting(office: Office) -> None:
    hands = Hands()
    deeds = Deeds(office.store, office.desk, Keeper().silencer, lambda: cast(ByHand, hands))
    await office.see(incident("a"), incident("b"), incident("c"), incident("d"))
    await office.see(gone("a", "b"), gone("d", "c"))
    assert await deeds.merge("a", "ann", "d") == {"incident_id": "b"}
    assert await deeds.split("a", "ann", "Down") == {"incident_id": "new"}
    assert hands.done == [("b", "c"), ("b", "Down")]
    with pytest.raises(ActionError, match="one already, b"):
        await deeds.merge("b", "ann", "a")


async def test_a_verdict_on_what_went_into_another_one_is_not_lost_in_silence(office: Office) -> None:
    await office.see(incident("a"), incident("b"), incident("c"))
    await office.store.commit_deliveries([], [episode("Down", home="b"), episode("Slow", home="c")])
    await office.see(gone("a", "b"))
    for verdict in ("noise", "wrong_merge"):
        with pytest.raises(ActionError, match="went into incident b; say it of that one"):
            await office.desk.say("a", verdict, actor="link:mail")
    assert await office.desk.say("c", "duplicate", actor="ann", of="a") == 1
    (kept,) = await office.store.response_store.feedback()
    assert (kept.rule, kept.other_rule) == ("Down", "Slow"), "of the one that it went into"


def no_hands() -> ByHand:
    raise AssertionError("nothing is to be done by hand")


async def test_silences_end_with_an_acknowledgement_that_the_whole_has_not() -> None:
    one = Keeper()
    one.open = {"a": "acknowledged", "b": "open"}
    await one.keeper.look()
    one.open, one.parts = {"b": "open"}, {"b": ["a"]}
    await one.keeper.look()
    assert await one.active() == set()
