"""Incidents by entity, onset, graph and mention; they only ever merge."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.records import Episode
from tests.unit.webhooks.deliveries import EPOCH, SECOND
from webhooks.bonds import Weights
from webhooks.correlate import Correlator
from webhooks.entity import EntityReader
from webhooks.sighting import Sighting, sight
from webhooks.topology import Topology

START = EPOCH / SECOND
GRAPH = Topology.of(
    {
        "services": [
            {"name": "web", "kind": "gateway", "tier": 1, "depends_on": ["cart", "search"]},
            {"name": "cart", "tier": 1, "depends_on": ["cart-db"], "runs_on": ["node-1"]},
            {"name": "cart-db", "kind": "database", "runs_on": ["node-2"]},
            {"name": "search", "depends_on": []},
            {"name": "mailer", "depends_on": []},
        ],
        "nodes": [{"name": "node-1", "zone": "a"}, {"name": "node-2", "zone": "b"}],
    }
)


def episode(name: str, *, at: float, text: str = "", tenant: str = "default", **labels: str) -> Episode:
    start = EPOCH + int(at * SECOND)
    return Episode(
        tenant=tenant,
        fingerprint=f"{name}{sorted(labels.items())}",
        starts_at_ns=start,
        ends_at_ns=None,
        labels={"alertname": name, **labels},
        annotations={"summary": text or name},
        generator_url="",
        first_seen_ns=start + SECOND,
        last_seen_ns=start + SECOND,
    )


class Stream:
    """Episodes given to a correlator as they would arrive."""

    def __init__(self, topology: Topology | None = None, weights: Weights | None = None) -> None:
        self.reader = EntityReader(topology)
        self.correlator = Correlator(topology, weights=weights)

    def hear(self, *episodes: Episode) -> None:
        for one in sorted(episodes, key=lambda e: e.first_seen_ns):
            now = one.first_seen_ns / SECOND
            self.correlator.advance(now)
            self.correlator.add(sight(one, self.reader), now=now)

    def settle(self, seconds: float = 3600.0) -> list[set[str]]:
        """The incidents once time has passed, as sets of entity/rule."""
        last = max(seen.heard for group in self.correlator.groups.values() for seen in group.members.values())
        self.correlator.advance(last + seconds)
        return [
            {f"{seen.entity}/{seen.name}" for seen in group.members.values()}
            for group in self.correlator.groups.values()
        ]


def test_one_entity_that_alerts_twice_at_once_is_one_incident() -> None:
    stream = Stream()
    stream.hear(episode("Slow", at=0, service="search"), episode("Errors", at=30, service="search"))
    assert len(stream.correlator.groups) == 1


def test_entities_that_begin_together_merge_after_the_hold() -> None:
    stream = Stream()
    stream.hear(episode("Slow", at=0, service="search"), episode("Errors", at=20, service="billing"))
    assert len(stream.correlator.groups) == 2, "nothing binds them but time; that is decided later"
    assert stream.settle() == [{"search/Slow", "billing/Errors"}]


def test_entities_that_begin_far_apart_stay_apart() -> None:
    stream = Stream()
    stream.hear(episode("Slow", at=0, service="search"), episode("Errors", at=900, service="billing"))
    assert len(stream.settle()) == 2


def test_a_caller_joins_its_callee_by_the_graph() -> None:
    apart = [episode("Down", at=0, service="cart-db"), episode("Errors", at=120, service="cart")]
    strangers = [episode("Down", at=0, service="mailer"), episode("Errors", at=120, service="cart")]
    related, unrelated = Stream(GRAPH), Stream(GRAPH)
    related.hear(*apart)
    unrelated.hear(*strangers)
    assert len(related.settle()) == 1
    assert len(unrelated.settle()) == 2


def test_a_mention_binds() -> None:
    stream = Stream()
    stream.hear(
        episode("EdgeErrors", at=0, service="cdn-edge"),
        episode("Buffering", at=200, service="player", text="stalls behind cdn-edge"),
    )
    assert len(stream.settle()) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"tenant": "a"}, {"tenant": "b"}, id="tenants"),
        pytest.param({"cluster": "eu"}, {"cluster": "us"}, id="clusters"),
    ],
)
def test_never_mixed(one: dict[str, str], other: dict[str, str]) -> None:
    stream = Stream()
    stream.hear(
        episode("Slow", at=0, service="search", **one),  # type: ignore[arg-type]
        episode("Slow", at=0, service="search", **other),  # type: ignore[arg-type]
    )
    assert len(stream.settle()) == 2


def test_a_link_says_by_which_dimension() -> None:
    stream = Stream(GRAPH)
    stream.hear(episode("Down", at=0, service="cart-db"), episode("Errors", at=20, service="cart"))
    stream.settle()
    (group,) = stream.correlator.groups.values()
    (link,) = group.links.values()
    assert {"edge", "density"} <= link.dimensions.keys()
    assert 0.0 < link.strength <= 1.0


def test_alerts_of_habit_are_no_company() -> None:
    stream = Stream()
    flapping = [episode("CpuHigh", at=1800.0 * i, service="batch", nr=str(i)) for i in range(12)]
    stream.hear(*flapping)
    stream.settle()
    seen = sight(flapping[0], stream.reader)
    assert stream.correlator.bonds.habits.habit(seen) > 0.8
    fresh = sight(episode("Down", at=0, service="web"), stream.reader)
    assert stream.correlator.bonds.habits.habit(fresh) == 0.0


def test_a_recalled_incident_goes_on() -> None:
    before = Stream()
    before.hear(episode("Slow", at=0, service="search"))
    (group,) = before.correlator.groups.values()
    after = Stream()
    after.correlator.recall(group.incident_id, group.members.values(), now=START + 60)
    after.hear(episode("Errors", at=65, service="search"))
    assert list(after.correlator.groups) == [group.incident_id]
    assert len(after.correlator.groups[group.incident_id].members) == 2


_onsets = st.integers(0, 1800)
_stories = st.lists(
    st.tuples(_onsets, st.sampled_from(["web", "cart", "cart-db", "search", "mailer"])),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(_stories, st.integers(0, 1800))
def test_what_was_put_together_stays_together(story: list[tuple[int, str]], cut: int) -> None:
    """Online: the first part of a story groups as it does when more follows."""
    episodes = [
        episode("Errors", at=at, service=name, nr=str(i)) for i, (at, name) in enumerate(sorted(story))
    ]
    head, whole = Stream(GRAPH), Stream(GRAPH)
    for one in episodes:
        if one.first_seen_ns <= EPOCH + cut * SECOND:
            head.hear(one)
        whole.hear(one)
    for group in head.correlator.groups.values():
        homes = {whole.correlator.home[key] for key in group.members}
        assert len(homes) == 1
    keys = [key for group in whole.correlator.groups.values() for key in group.members]
    assert sorted(keys) == sorted(one.key for one in episodes), "each episode is in one incident"


def test_a_storm_costs_each_alert_what_the_first_did() -> None:
    """Bounded work: an alert is compared with the near incidents only, whatever their number."""
    stream = Stream(weights=Weights(near_groups=4))
    compared: list[str] = []
    link = stream.correlator.bonds.link

    def counting(seen: Sighting, group: object) -> object:
        compared.append(seen.entity)
        return link(seen, group)  # type: ignore[arg-type]

    stream.correlator.bonds.link = counting  # type: ignore[assignment, method-assign]
    stream.hear(*(episode("Errors", at=200.0 * i, service=f"svc-{i}") for i in range(50)))
    assert max(compared.count(name) for name in set(compared)) <= 4 * 8
