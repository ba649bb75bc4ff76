"""Silences that pronoia makes by itself: of what, for how long, how many, and for the record."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from sidecar.config.response import AutomaticSilencesConfig, SilencesConfig
from sidecar.records import Episode, Incident
from tests.unit.webhooks.respond.incidents import Clock, Held, episode, incident
from webhooks.respond.auto_silences import AutoSilences, wanted
from webhooks.respond.silences import SilenceMetrics, Silencer, _seconds

ON = AutomaticSilencesConfig(flapping=True, duplicates=True)


def replica(name: str, *, at: float = 0.0, **fields: Any) -> Episode:
    one = episode("Down", at=at, **fields)
    one.fingerprint = f"Down/{name}"
    one.labels = {**one.labels, "replica": name}
    return one


@pytest.mark.parametrize(
    ("episodes", "flapping", "incidents", "config", "expected"),
    [
        pytest.param([episode("A")], {"A/0"}, [incident()], {}, {"A/0": "it flaps"}, id="flaps"),
        pytest.param([episode("A")], {"A/0"}, [incident()], {"flapping": False}, {}, id="not told to"),
        pytest.param([episode("A")], {"A/0"}, [incident(priority="P1")], {}, {}, id="in a page, spared"),
        pytest.param(
            [episode("A", lasted=5.0)], {"A/0"}, [], {}, {"A/0": "it flaps"}, id="between two flaps"
        ),
        pytest.param([episode("A")], set(), [incident()], {}, {}, id="calm"),
        pytest.param(
            [replica("a", at=1.0), replica("b")],
            set(),
            [incident()],
            {},
            {"Down/a": "it repeats Down/b"},
            id="the later replica repeats the first",
        ),
        pytest.param(
            [replica("a", at=1.0), replica("b", lasted=3.0)],
            set(),
            [incident()],
            {},
            {},
            id="the first is over",
        ),
        pytest.param(
            [episode("Down", 1), episode("Down", 2)],
            set(),
            [incident()],
            {},
            {},
            id="two pods are two alerts",
        ),
        pytest.param(
            [replica("a"), replica("b", home="i2")],
            set(),
            [incident(), incident("i2")],
            {},
            {},
            id="in two incidents",
        ),
        pytest.param([replica("a"), replica("b")], set(), [], {}, {}, id="its incident is over"),
        pytest.param(
            [replica("a", at=1.0), replica("b")],
            set(),
            [incident()],
            {"duplicates": False},
            {},
            id="told not to",
        ),
    ],
)
def test_what_is_silenced(
    episodes: list[Episode],
    flapping: set[str],
    incidents: list[Incident],
    config: dict[str, Any],
    expected: dict[str, str],
) -> None:
    found = wanted(
        episodes,
        flapping={("default", one) for one in flapping},
        incidents={one.incident_id: one for one in incidents},
        config=ON.model_copy(update=config),
    )
    assert {one.episode.fingerprint: one.why for one in found} == expected


def test_pronoias_own_alerts_are_never_silenced() -> None:
    own = episode("PronoiaIncident")
    own.labels["source"] = "pronoia"
    assert wanted([own], flapping={("default", own.fingerprint)}, incidents={}, config=ON) == []


class Keeper:
    """Automatic silences against an Alertmanager's rules, on a clock set by hand."""

    def __init__(self, config: AutomaticSilencesConfig = ON) -> None:
        self.clock = Clock()
        self.held = Held(self.clock)
        self.alerts: list[Episode] = []
        self.flapping: set[str] = set()
        self.told: list[str] = []
        self.metrics = CollectorRegistry()
        self.silencer = Silencer(
            {"am": self.held},
            SilencesConfig(automatic=config),
            metrics=SilenceMetrics(self.metrics),
            now=self.clock,
        )
        self.auto = AutoSilences(
            self.silencer,
            config,
            episodes=lambda: self.alerts,
            flapping=lambda: {("default", one) for one in self.flapping},
            incidents=lambda: [incident()],
            note=lambda _, __, text: self.told.append(text),
        )

    async def active(self) -> list[dict[str, Any]]:
        return [one for one in await self.held.silences() if one["status"]["state"] == "active"]


async def test_it_is_extended_while_it_flaps_ended_after_and_on_the_timeline() -> None:
    keeper = Keeper()
    keeper.alerts, keeper.flapping = [episode("A")], {"A/0"}
    await keeper.auto.look()
    (one,) = await keeper.active()
    assert one["comment"] == "alert A/0: automatic, it flaps"
    assert {m["name"]: m["value"] for m in one["matchers"]} == keeper.alerts[0].labels
    first_end = one["endsAt"]
    keeper.clock.now += 600
    await keeper.auto.look()
    (one,) = await keeper.active()
    assert one["endsAt"] > first_end
    keeper.flapping = set()
    await keeper.auto.look()
    assert await keeper.active() == []
    assert keeper.told == [
        "automatic, of alert A/0: made for A, it flaps",
        "automatic, of alert A/0: ended, its reason is gone",
    ]


async def test_what_has_run_its_longest_time_or_was_ended_by_people_is_not_made_again() -> None:
    keeper = Keeper()
    keeper.alerts, keeper.flapping = [episode("A")], {"A/0"}
    for _ in range(40):
        await keeper.auto.look()
        keeper.clock.now += 400
    assert len(keeper.held.made) == 1
    assert await keeper.active() == []
    keeper.auto._had.clear()
    await keeper.auto.look()
    assert len(keeper.held.made) == 1, "also after a restart"
    keeper.auto._had.clear()
    keeper.clock.now += 14_400
    await keeper.auto.look()
    assert len(keeper.held.made) == 2, "until as much time has passed"


async def test_peoples_silences_and_its_own_do_not_take_each_others_room() -> None:
    keeper = Keeper(AutomaticSilencesConfig(flapping=True, max_active=1))
    keeper.alerts, keeper.flapping = [episode("A", 1), episode("A", 2, at=1.0)], {"A/1", "A/2"}
    await keeper.auto.look()
    assert [one["comment"] for one in await keeper.active()] == ["alert A/1: automatic, it flaps"]
    await keeper.silencer.silence(
        incident(shared_labels={"a": "b"}), keeper.alerts, seconds=60, why="asked for"
    )
    assert len(await keeper.active()) == 2
    await keeper.silencer.end("incident i1")
    assert [one["comment"] for one in await keeper.active()] == ["alert A/1: automatic, it flaps"]


@given(
    st.lists(
        st.tuples(st.sets(st.integers(0, 6), max_size=7), st.floats(0, 4000), st.booleans()), max_size=25
    )
)
@settings(deadline=None, max_examples=40)
def test_never_more_and_never_longer_than_the_caps(steps: list[tuple[set[int], float, bool]]) -> None:
    caps = AutomaticSilencesConfig(flapping=True, duration=900, max_total=3600, max_active=3)
    keeper = Keeper(caps)
    keeper.alerts = [episode("A", n, at=float(n)) for n in range(7)]

    async def run() -> None:
        for flapping, pause, restarts in steps:
            keeper.flapping = {f"A/{n}" for n in flapping}
            if restarts:
                keeper.auto._had.clear()
            await keeper.auto.look()
            active = await keeper.active()
            assert len(active) <= 3
            assert {one["comment"].partition(":")[0] for one in active} <= {
                f"alert {one}" for one in keeper.flapping
            }
            assert len({one["comment"] for one in active}) == len(active)
            for one in keeper.held.made:
                assert _seconds(one["endsAt"]) - _seconds(one["startsAt"]) <= 3600 + 1
            keeper.clock.now += pause

    asyncio.run(run())
