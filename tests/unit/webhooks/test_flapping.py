"""Flapping is a state with hysteresis, one incident, and a proposed change of the rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import pytest

from sidecar.errors import PullError, PullReason
from sidecar.events import Event, EventBus
from sidecar.records import Episode, Incident
from sidecar.series import LabelSet, SeriesBatch
from webhooks.correlate.placing import Placing
from webhooks.intake.fold import Memory
from webhooks.judge.analyst import Analyst
from webhooks.quieten.flap_report import NOTE, FlapReport
from webhooks.quieten.flapping import FlapWatch, Proposal
from webhooks.quieten.holding import Holding
from webhooks.quieten.storms import Storms
from webhooks.quieten.transient import Transients

SECOND = 1_000_000_000


def flap(at: float, lasts: float | None = 30.0, *, name: str = "Jittery", fingerprint: str = "f") -> Episode:
    start = int(at * SECOND)
    end = None if lasts is None else start + int(lasts * SECOND)
    return Episode(
        tenant="default",
        fingerprint=fingerprint,
        starts_at_ns=start,
        ends_at_ns=end,
        labels={"alertname": name, "service": "shop"},
        annotations={},
        generator_url="",
        first_seen_ns=start,
        last_seen_ns=end or start,
        state="firing" if end is None else "resolved",
    )


def flapping_at(watch: FlapWatch, times: list[float]) -> list[bool]:
    states = []
    for at in times:
        states.append(watch.begin(flap(at)))
        watch.end(flap(at))
    return states


def test_it_takes_four_starts_in_a_short_time_and_an_hour_of_calm() -> None:
    watch = FlapWatch()
    assert flapping_at(watch, [0, 300, 600, 900]) == [False, False, False, True]
    assert watch.calmed(900 + 1800) == set(), "fading, and below where it began: hysteresis"
    assert watch.flapping
    assert watch.calmed(900 + 2 * 1800) == {("default", "f")}
    assert not watch.flapping


def test_slow_repetition_is_no_flapping() -> None:
    assert not any(flapping_at(FlapWatch(), [3600.0 * i for i in range(50)]))


def test_history_shows_flaps_that_no_webhook_told_of() -> None:
    watch = FlapWatch()
    watch.observe("default", {"alertname": "Jittery"}, "g", 4, now=1000.0)
    assert not watch.flapping
    watch.observe("default", {"alertname": "Jittery"}, "g", 9, now=1000.0)
    assert watch.flapping == {("default", "g")}


@pytest.mark.parametrize(
    ("lasts", "every", "change", "seconds"),
    [
        pytest.param(60.0, 100.0, "keep_firing_for", 60.0, id="short pauses are bridged"),
        pytest.param(20.0, 300.0, "for", 30.0, id="short firings are hidden"),
    ],
)
def test_a_change_of_the_rule_is_proposed(lasts: float, every: float, change: str, seconds: float) -> None:
    watch = FlapWatch()
    for i in range(8):
        watch.begin(flap(i * every))
        watch.end(flap(i * every, lasts))
    (proposal,) = watch.proposals()
    assert (proposal.alertname, proposal.field, proposal.seconds) == ("Jittery", change, seconds)
    assert "8 starts" in proposal.reason


class Source:
    """A Prometheus whose history shows one alert that flaps, or that does not answer."""

    def __init__(self, n_changes: float | None) -> None:
        self.n_changes = n_changes

    async def instant(self, expr: str, **_: Any) -> SeriesBatch:
        if self.n_changes is None:
            raise PullError(PullReason.UNREACHABLE, "refused")
        labels = (LabelSet({"alertname": "Hidden", "service": "shop"}),)
        return SeriesBatch("x", labels, np.array([0], dtype=np.int64), np.array([[self.n_changes]]))

    async def range(self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, **_: Any) -> SeriesBatch:
        """Fires for the first of each ten minutes."""
        assert expr == '{__name__="ALERTS",alertstate="firing",alertname="Hidden"}'
        times = np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64)
        labels = (LabelSet({"alertname": "Hidden", "alertstate": "firing", "service": "shop"}),)
        return SeriesBatch("x", labels, times, np.where(times % 600_000 < 60_000, 1.0, np.nan)[None])

    async def external_labels(self) -> Mapping[str, str]:
        return {"cluster": "eu"}


class Notes(dict[str, bytes]):
    """A store of notes."""

    async def note(self, name: str) -> bytes | None:
        return self.get(name)

    async def put_note(self, name: str, body: bytes) -> None:
        self[name] = body


async def test_proposals_are_handed_over_once_and_without_prometheus_too() -> None:
    watch, notes, told = FlapWatch(), Notes(), list[Event]()
    bus = EventBus()
    bus.publish = told.append  # type: ignore[method-assign]
    report = FlapReport(watch, source=Source(20.0), store=notes, bus=bus, now=lambda: 800.0)
    flapping_at(watch, [100.0 * i for i in range(8)])
    hidden, jittery = await report.look()
    assert (hidden.alertname, hidden.field, hidden.seconds) == ("Hidden", "for", 90.0), (
        "no webhook told of it"
    )
    assert jittery.alertname == "Jittery"
    assert watch.flapping >= {
        ("default", LabelSet({"alertname": "Hidden", "cluster": "eu", "service": "shop"}).fingerprint())
    }
    assert msgspec.json.decode(notes[NOTE], type=list[Proposal]) == [hidden, jittery]
    assert [event.kind for event in told] == ["rule.change_proposed"] * 2
    assert told[1].facts["field"] == jittery.field
    silent = FlapReport(watch, source=Source(None), store=Notes(), bus=bus, now=lambda: 800.0)
    await silent.look()
    await silent.look()
    assert len(told) == 4, "once by each"


def reporting(
    watch: FlapWatch, source: Source, notes: Notes, now: list[float]
) -> tuple[FlapReport, list[Event]]:
    """A report on a clock that is `now`'s last, and what it told."""
    told, bus = list[Event](), EventBus()
    bus.publish = told.append  # type: ignore[method-assign]
    return FlapReport(watch, source=source, store=notes, bus=bus, now=lambda: now[-1]), told


async def test_a_rule_that_flaps_on_is_told_of_once_though_its_numbers_move() -> None:
    watch, notes, now = FlapWatch(), Notes(), [0.0]
    report, told = reporting(watch, Source(None), notes, now)
    for at in range(0, 36_000, 300):
        watch.begin(flap(float(at)))
        watch.end(flap(float(at), 10.0 + at % 900 / 300))
        now.append(at + 100.0)
        await report.look()
    assert len(told) == 1
    (kept,) = msgspec.json.decode(notes[NOTE], type=list[Proposal])
    assert kept.n_starts == 120, "what is stored is as it is now"
    again, told_again = reporting(watch, Source(None), notes, now)
    await again.look()
    assert told_again == [], "a restart is no news"
    for at in range(36_300, 42_000, 300):
        watch.begin(flap(float(at)))
        watch.end(flap(float(at), 100.0))
        now.append(at + 150.0)
        await again.look()
    changes = [(event.facts["field"], event.facts["seconds"]) for event in told_again]
    assert changes == [("for", 120.0), ("keep_firing_for", 210.0)], "another change is"


@pytest.mark.parametrize(
    ("heard", "tenants"),
    [
        pytest.param([], {"default"}, id="of nobody"),
        pytest.param([("shop", "Hidden", "hidden")], {"shop"}, id="of who was told of it"),
        pytest.param([("a", "Hidden", "x"), ("b", "Other", "y")], {"a"}, id="of who was told of its rule"),
        pytest.param([("b", "Other", "y")], {"b"}, id="of the only one there is"),
        pytest.param([("a", "Other", "x"), ("b", "Other", "y")], {"default"}, id="of nobody known"),
    ],
)
async def test_what_the_history_shows_belongs_to_whose_alert_it_is(
    heard: list[tuple[str, str, str]], tenants: set[str]
) -> None:
    watch, hidden = FlapWatch(), LabelSet({"alertname": "Hidden", "cluster": "eu", "service": "shop"})
    for tenant, rule, fingerprint in heard:
        one = flap(
            0.0, name=rule, fingerprint=hidden.fingerprint() if fingerprint == "hidden" else fingerprint
        )
        one.tenant = tenant
        watch.begin(one)
    report, told = reporting(watch, Source(20.0), Notes(), [800.0])
    assert {one.tenant for one in await report.look()} == tenants
    assert {key for key in watch.flapping if key[1] == hidden.fingerprint()} == {
        (tenant, hidden.fingerprint()) for tenant in tenants
    }
    assert {event.facts["tenant"] for event in told} == tenants


def placing(longest_wait: float = 300.0) -> Placing:
    storms = Storms(Memory(), at_least=1000, factor=5.0)
    return Placing(Analyst(), storms, FlapWatch(), Transients(longest_wait))


def test_all_flaps_are_one_incident_that_ends_when_they_have_calmed() -> None:
    placed = placing()
    homes = set()
    for i in range(8):
        at = 400.0 * i
        one = flap(at, None)
        placed.take([one], at)
        placed.place(at)
        one.state, one.ends_at_ns = "resolved", one.starts_at_ns + 10 * SECOND
        placed.take([one], at + 10)
        placed.place(at + 10)
        homes.add(one.incident_id)
    *_, last = placed.analyst.correlator.groups.values()
    assert one.incident_id == last.incident_id
    assert last.ended() is None, "a pause is no end"
    assert len(last.members) >= 5
    placed.place(2800.0 + 7200.0)
    assert last.ended() is not None
    assert last.incident_id in placed.unsaved.incidents, "its end is stored and told"


def test_what_resolves_by_itself_is_waited_for_and_what_does_not_is_not() -> None:
    transients = Transients(300.0)
    for i in range(20):
        transients.learn("t", "Short", 40.0 + i)
        transients.learn("t", "Long", 4000.0)
        transients.learn("t", "Mixed", 40.0 if i % 2 else 4000.0)
    assert 55.0 <= transients.wait("t", "Short") <= 59.0
    assert [transients.wait("t", name) for name in ("Long", "Mixed", "Unknown")] == [0.0] * 3
    assert transients.wait("other", "Short") == 0.0
    assert transients.wait_for("t", ["Short", "Long"]) == 0.0, "one that stays is told of at once"
    for _ in range(1000):
        transients.learn("t", "Short", 50.0)
    assert transients.wait("t", "Short") > 0.0


def incident(state: str = "open", priority: str = "P2") -> Incident:
    return Incident("i", "t", "x", started_at_ns=0, last_change_ns=0, state=state, priority=priority)


def test_what_is_held_is_told_when_it_stays_and_spared_when_it_goes() -> None:
    stays = Holding(lambda _: 60.0)
    assert stays.sift([incident()], 10.0) == []
    assert (stays.due(59.0), stays.next_due()) == ([], 60.0)
    assert stays.due(60.0) == ["i"]
    assert stays.sift([incident()], 60.0) == [incident()]
    assert stays.sift([incident("resolved")], 70.0) == [incident("resolved")], "who was told hears the end"
    goes = Holding(lambda _: 60.0)
    goes.sift([incident()], 10.0)
    ended = incident("resolved")
    assert goes.sift([ended], 30.0) == [ended], "nobody was told of it, so nobody is told of its end"
    assert (goes.n_spared, goes.due(100.0)) == (1, [])


def test_the_wait_counts_from_the_beginning_of_an_incident() -> None:
    holding = Holding(lambda _: 60.0)
    late = Incident("i", "t", "x", started_at_ns=100 * SECOND, last_change_ns=0, priority="P2")
    assert holding.sift([late], 150.0) == []
    assert holding.next_due() == 160.0


def test_who_was_told_of_a_page_hears_of_it_when_it_is_one_no_more() -> None:
    holding = Holding(lambda _: 60.0)
    page, calmer = incident(priority="P1"), incident(priority="P3")
    assert holding.sift([page], 10.0) == [page]
    assert holding.sift([calmer], 11.0) == [calmer]


def test_what_goes_into_another_takes_along_only_who_was_told_of_it() -> None:
    told, other = incident(priority="P1"), incident()
    other.incident_id = "other"
    holding = Holding(lambda _: 60.0)
    holding.follow("of which nobody was told", "other")
    assert holding.sift([told, other], 10.0) == [told]
    holding.follow("i", "other")
    assert holding.sift([other], 11.0) == [other]


def test_what_passed_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.quieten.holding.MAX_PASSED", 2)
    holding = Holding(lambda _: 0.0)
    for name in ("a", "b", "c"):
        one = incident()
        one.incident_id = name
        holding.sift([one], 10.0)
    assert list(holding._passed) == ["b", "c"]


@pytest.mark.parametrize("priority", ["P0", "P1"])
def test_pages_are_never_held(priority: str) -> None:
    holding = Holding(lambda _: 60.0)
    holding.sift([incident()], 10.0)
    assert holding.sift([incident(priority=priority)], 11.0), "not even when they become so while held"
    assert holding.next_due() is None


def test_an_endless_trickle_is_bounded_and_the_ended_leave_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.correlate.placing.MAX_PLACED", 20)
    placed, seen = placing(), list[Episode]()
    for i in range(90):
        one = flap(3600.0 * i, 10.0 if i % 3 else None, fingerprint=f"f{i}", name=f"Rule{i}")
        one.labels["service"] = f"service-{i}"
        seen.append(one)
        placed.take([one], 3600.0 * i)
        placed.place(3600.0 * i)
    placed.forget(0)
    correlator = placed.analyst.correlator
    assert len(correlator.home) <= 20
    assert all(group.ended() is None for group in correlator.groups.values())
    assert len(correlator.groups) == 20, "all that fire, and no more is forgotten than must be"
    forgotten = next(one for one in seen if one.key not in correlator.home and one.state == "firing")
    forgotten.state, forgotten.ends_at_ns = "resolved", forgotten.starts_at_ns + SECOND
    placed.take([forgotten], 1e6)
    placed.place(1e6)
    assert correlator.groups[str(forgotten.incident_id)].ended() is not None, (
        "and its end still ends its incident"
    )


def test_a_sender_whose_clock_is_ahead_does_not_flap_until_its_time_has_come() -> None:
    """Four starts of an alert, told of an hour ago, by a clock that is a year ahead."""
    watch = FlapWatch()
    year_ns = 365 * 86_400 * 10**9
    for n in range(4):
        heard_ns = n * 60 * 10**9
        start_ns = year_ns + heard_ns
        ahead = Episode("t", "f", start_ns, None, {"alertname": "X"}, {}, "", heard_ns, heard_ns)
        flaps = watch.begin(ahead)
    assert flaps
    assert watch.calmed(3 * 3600.0) == {("t", "f")}


def test_a_clock_that_is_set_back_holds_nobody_for_longer() -> None:
    holding = Holding(lambda _: 60.0)
    one = Incident("i", "t", "x", started_at_ns=7200 * 10**9, last_change_ns=0, priority="P2")
    assert holding.sift([one], 7200.0) == []
    assert holding.due(7201.0) == []
    assert holding.due(3600.0) == [], "a minute is not over in a second"
    assert holding.sift([one], 3610.0) == []
    assert holding.due(3660.0) == ["i"]


def test_alerts_that_were_let_go_of_come_back_to_one_incident() -> None:
    placed = placing()
    both = [flap(9000.0 * n, None, fingerprint=f"f{n}", name=f"Rule{n}") for n in range(2)]
    for n, one in enumerate(both):
        one.labels["service"], one.incident_id = f"service-{n}", "inc-before"
    placed.take(both, 9010.0)
    placed.place(9010.0)
    assert {one.incident_id for one in both} == {"inc-before"}
    assert len(placed.analyst.correlator.groups["inc-before"].members) == 2
