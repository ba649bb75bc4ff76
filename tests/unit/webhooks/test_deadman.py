"""A heartbeat that stays away becomes an alert of our own, named by where the way is broken."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from sidecar.errors import PullError, PullReason
from sidecar.records import Delivery, Episode
from tests.unit.webhooks.deliveries import EPOCH, T1, alert, delivery
from webhooks.heartbeats.deadman import DeadMan, DeadManMetrics
from webhooks.heartbeats.heartbeat import Heartbeats, Way, from_document, to_document
from webhooks.intake.fold import Memory
from webhooks.own import is_own

START = EPOCH / 1e9
DOWN = PullError(PullReason.UNREACHABLE, "refused")
A, B = "http://a:9093", "http://b:9093"


def beats(
    heartbeats: Heartbeats, times: Any, *, sender: str = A, cluster: str = "eu", ends: str | None = None
) -> None:
    """Deliveries of the heartbeat, so many seconds after the start."""
    for at in times:
        one = alert("Watchdog", cluster=cluster, ends=ends)
        heartbeats.hear([delivery(one, at_seconds=at, externalURL=sender)])


def lost_at(heartbeats: Heartbeats, seconds: float, *, since: float = 0.0) -> list[tuple[str, bool]]:
    found = heartbeats.lost(START + seconds, listening_since=START + since)
    return [(one.way.alertmanager, one.whole_cluster) for one in found]


def test_silence_counts_only_beyond_what_is_usual() -> None:
    heartbeats = Heartbeats(["Watchdog"])
    beats(heartbeats, range(0, 400, 100))
    assert lost_at(heartbeats, 300 + 229) == []
    assert lost_at(heartbeats, 300 + 231) == [(A, True)]
    assert lost_at(heartbeats, 300 + 231, since=400) == [], "we did not listen for so long"
    beats(heartbeats, [600])
    assert lost_at(heartbeats, 610) == []
    assert lost_at(heartbeats, 600 + 231) == [(A, True)], "an outage is no usual pause"


def test_two_beats_are_no_habit_unless_a_timeout_is_stated() -> None:
    unsure, told = Heartbeats(["Watchdog"]), Heartbeats(["Watchdog"], timeout_seconds=50.0)
    for heartbeats in (unsure, told):
        beats(heartbeats, [0, 10])
    assert lost_at(unsure, 10_000) == []
    assert lost_at(told, 61) == [(A, True)]


def test_peers_that_share_the_work_are_not_missed_and_those_beside_each_other_are() -> None:
    shared = Heartbeats(["Watchdog"])
    beats(shared, range(0, 1000, 100), sender=A)
    beats(shared, [1000], sender=B)  # A's place is taken once.
    beats(shared, range(1100, 2000, 100), sender=A)
    assert lost_at(shared, 1950) == []
    beside = Heartbeats(["Watchdog"])
    for at in range(0, 1000, 100):
        beats(beside, [at], sender=A)
        beats(beside, [at + 5], sender=B)
    beats(beside, range(1000, 2000, 100), sender=A)
    assert lost_at(beside, 1950) == [(B, False)]


def test_a_resolved_heartbeat_is_lost_at_once_and_clusters_are_apart() -> None:
    heartbeats = Heartbeats(["Watchdog"])
    beats(heartbeats, range(0, 400, 100))
    beats(heartbeats, range(0, 400, 100), cluster="us")
    beats(heartbeats, [310], ends=T1)
    (one,) = heartbeats.lost(START + 311, listening_since=START)
    assert (one.way.cluster, one.pulse.ended, one.whole_cluster) == ("eu", True, True)


def test_delay_is_read_from_the_annotation() -> None:
    heartbeats = Heartbeats(["Watchdog"])
    one = {**alert("Watchdog"), "annotations": {"evaluated_at": f"{START + 90:.0f}"}}
    heartbeats.hear([delivery(one, at_seconds=100, externalURL=A)])
    assert heartbeats.pulses[Way("default", "", A)].delay_seconds == pytest.approx(10.0)


def test_pulses_survive_being_stored() -> None:
    heartbeats = Heartbeats(["Watchdog"])
    beats(heartbeats, range(0, 400, 100))
    again = Heartbeats(["Watchdog"], pulses=from_document(to_document(heartbeats.pulses)))
    assert lost_at(again, 531) == lost_at(heartbeats, 531) == [(A, True)]


class Notes:
    """A store of notes."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}

    async def note(self, name: str) -> bytes | None:
        return self.bodies.get(name)

    async def put_note(self, name: str, body: bytes) -> None:
        self.bodies[name] = body


class Peer:
    """An Alertmanager that holds some alerts, or does not answer."""

    def __init__(self, held: list[str] | None) -> None:
        self.held = held

    async def alerts(self) -> list[dict[str, Any]]:
        if self.held is None:
            raise DOWN
        return [{"labels": {"alertname": name}} for name in self.held]


class Switch:
    """A dead man's switch over a memory, with a clock of its own."""

    def __init__(self, *, fires: bool | Exception | None = True, peer: Peer | None = None) -> None:
        self.at = START
        self.registry = CollectorRegistry()
        self.memory = Memory()
        self.notes = Notes()
        self.heartbeats = Heartbeats(["Watchdog"], timeout_seconds=60.0)
        self.fires, self.peer = fires, peer
        self.dead_man = self.make()

    def make(self) -> DeadMan:
        return DeadMan(
            self.heartbeats,
            accept=self.accept,
            known=lambda: self.memory.episodes,
            evaluates=self.evaluates,
            alertmanagers={A: self.peer} if self.peer else {},
            store=self.notes,
            metrics=DeadManMetrics(self.registry),
            now=lambda: self.at,
        )

    async def accept(self, one: Delivery) -> None:
        self.memory.apply(self.memory.fold([one]))

    async def evaluates(self, alertname: str, cluster: str) -> bool | None:
        assert alertname == "Watchdog"
        assert cluster == ("eu" if len(self.heartbeats.pulses) > 1 else "")
        if isinstance(self.fires, Exception):
            raise self.fires
        return self.fires

    @property
    def raised(self) -> list[Episode]:
        return [one for one in self.memory.episodes.values() if is_own(one.labels)]


@pytest.mark.parametrize(
    ("fires", "peer", "name", "words"),
    [
        pytest.param(
            DOWN,
            Peer([]),
            "PrometheusNotEvaluating",
            "not answer",
            id="down",
        ),
        pytest.param(False, Peer([]), "PrometheusNotEvaluating", "no more", id="rule not evaluated"),
        pytest.param(True, Peer(None), "AlertmanagerNotDelivering", "not answer", id="alertmanager down"),
        pytest.param(True, Peer([]), "AlertmanagerNotDelivering", "do not reach it", id="not received"),
        pytest.param(True, Peer(["Watchdog"]), "AlertmanagerNotDelivering", "deliver", id="held back"),
        pytest.param(None, None, "AlertsNotArriving", "no longer arrive", id="nobody to ask"),
    ],
)
async def test_the_alert_says_where_the_way_is_broken_and_ends_with_the_next_beat(
    fires: bool | Exception | None, peer: Peer | None, name: str, words: str
) -> None:
    switch = Switch(fires=fires, peer=peer)
    beats(switch.heartbeats, [0])
    await switch.dead_man.look()
    assert switch.raised == []
    switch.at = START + 61
    await switch.dead_man.look()
    await switch.dead_man.look()
    (episode,) = switch.raised
    assert (episode.labels["alertname"], episode.state) == (name, "firing")
    assert words in episode.annotations["summary"]
    beats(switch.heartbeats, [70])
    switch.at = START + 71
    await switch.dead_man.look()
    assert episode.state == "resolved"


async def test_what_is_lost_is_measured_while_it_is_and_only_of_its_own_way() -> None:
    switch = Switch()
    beats(switch.heartbeats, [0])
    lost = []
    for at in (10, 61, 71):
        beats(switch.heartbeats, [at - 1], cluster="us")
        beats(switch.heartbeats, [70] if at == 71 else [])
        switch.at = START + at
        await switch.dead_man.look()
        ways = [{"cluster": cluster, "alertmanager": A} for cluster in ("eu", "us")]
        lost.append([switch.registry.get_sample_value("pronoia_heartbeat_lost", way) for way in ways])
    assert lost == [[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]]
    last = switch.registry.get_sample_value("pronoia_heartbeat_last_timestamp_seconds", ways[0])
    assert last == START + 70


async def test_after_a_restart_the_alert_goes_on_and_ends() -> None:
    switch = Switch()
    beats(switch.heartbeats, [0])
    switch.at = START + 61
    await switch.dead_man.look()
    switch.heartbeats, switch.registry = Heartbeats(["Watchdog"], timeout_seconds=60.0), CollectorRegistry()
    again = switch.make()
    await again._recall()
    await again.look()
    (episode,) = switch.raised
    assert episode.state == "firing", "silence before the restart proves nothing, and ends nothing"
    beats(switch.heartbeats, [65])
    await again.look()
    assert episode.state == "resolved"


async def test_somebody_elses_alert_that_is_labelled_as_ours_stops_nothing() -> None:
    switch = Switch()
    nameless = alert("X", source="pronoia", alertmanager=A)
    del nameless["labels"]["alertname"]
    await switch.accept(delivery(nameless))
    assert len(switch.raised) == 1
    await switch.dead_man._recall()
    assert switch.dead_man._raised == {}


@pytest.mark.parametrize("leap", [3600.0, -3600.0])
async def test_a_leap_of_the_clock_is_no_silence_and_hides_none(leap: float) -> None:
    """A machine that slept, or whose clock was set, has heard of nothing, and of no loss."""
    switch = Switch()
    beats(switch.heartbeats, [0])
    await switch.dead_man.look()
    switch.at = START + 10 + leap
    switch.dead_man.heed_leap(leap)
    await switch.dead_man.look()
    assert switch.raised == [], "nobody could have been heard in between"
    switch.at += 61
    await switch.dead_man.look()
    (episode,) = switch.raised
    assert episode.state == "firing"


async def test_a_loss_ends_with_the_next_beat_though_the_clock_was_set_back() -> None:
    switch = Switch()
    beats(switch.heartbeats, [0])
    switch.at = START + 61
    await switch.dead_man.look()
    switch.dead_man.heed_leap(-3600.0)
    switch.at = START + 65 - 3600.0
    beats(switch.heartbeats, [66 - 3600])
    await switch.dead_man.look()
    (episode,) = switch.raised
    assert episode.state == "resolved"


def test_a_beat_from_the_future_is_no_excuse_for_silence() -> None:
    heartbeats = Heartbeats(["Watchdog"], timeout_seconds=60.0)
    beats(heartbeats, [7200, 10])  # The clock was set back while we were down.
    assert lost_at(heartbeats, 71) == [(A, True)]


async def test_a_loss_is_told_of_though_the_neighbours_answer_oddly() -> None:
    switch = Switch(fires=RuntimeError("nobody foresaw this"))
    beats(switch.heartbeats, [0])
    switch.at = START + 61
    await switch.dead_man.look()
    (episode,) = switch.raised
    assert (episode.labels["alertname"], episode.state) == ("AlertsNotArriving", "firing")
