"""Incidents by entity, onset, graph and mention; they merge, and part where they end apart."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.records import Episode
from tests.unit.webhooks.deliveries import EPOCH, SECOND
from webhooks.correlate.companions import Companions
from webhooks.correlate.entity import EntityReader
from webhooks.correlate.group import Split
from webhooks.correlate.lags import MAX_RECENT, Lags
from webhooks.correlate.online import Correlator
from webhooks.correlate.parting import UNRELATED_SECONDS
from webhooks.correlate.sighting import Sighting, sight
from webhooks.correlate.topology import Topology
from webhooks.correlate.weights import Weights

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

    def end(self, one: Episode, *, at: float) -> None:
        """Let an alert resolve, heard of at once."""
        self.correlator.advance(START + at)
        one.state, one.ends_at_ns = "resolved", EPOCH + int(at * SECOND)
        self.correlator.refresh(one)

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


def test_an_incident_does_not_begin_after_it_was_heard_of() -> None:
    """A sender's clock may be hours ahead of ours."""
    ahead = episode("Down", at=0, service="cart")
    ahead.starts_at_ns += 7200 * SECOND
    stream = Stream()
    stream.hear(ahead)
    (group,) = stream.correlator.groups.values()
    assert group.starts_at_ns == ahead.first_seen_ns


def test_entities_that_begin_together_merge_after_the_hold() -> None:
    stream = Stream()
    stream.hear(episode("Slow", at=0, service="search"), episode("Errors", at=20, service="billing"))
    assert len(stream.correlator.groups) == 2, "nothing binds them but time; that is decided later"
    assert stream.settle() == [{"search/Slow", "billing/Errors"}]


def test_a_clock_that_is_set_back_delays_no_merge_for_longer() -> None:
    stream = Stream()
    stream.hear(episode("Slow", at=0, service="search"), episode("Errors", at=20, service="billing"))
    stream.correlator.advance(START + 30 - 3600)
    stream.correlator.advance(START + 95 - 3600)
    assert len(stream.correlator.groups) == 1, "a minute and a half has passed"


@pytest.mark.parametrize("label", ["pod", "persistentvolumeclaim", "job_name", "instance", "url"])
def test_a_huge_label_is_read_at_once(label: str) -> None:
    """Whoever may send alerts must not hold up everybody's by one of them."""
    huge = "-".join(f"a{i}" for i in range(20_000))
    began = time.process_time()
    subject = EntityReader(GRAPH).read({"alertname": huge, label: huge}, {"summary": huge})
    sight(episode(huge, at=0, **{label: huge}), EntityReader(GRAPH))
    assert time.process_time() - began < 1.0
    assert len(subject.entity) <= 1000


def test_what_is_known_of_entities_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless trickle, each alert of another thing: a job's, a request's."""
    for module in ("companions", "lags"):
        monkeypatch.setattr(f"webhooks.correlate.{module}.MAX_ENTITIES", 200)
        monkeypatch.setattr(f"webhooks.correlate.{module}.MAX_PAIRS", 200)
    companions, lags = Companions(), Lags()
    for n in range(3000):
        for entity in (f"job-{n}", f"run-{n}"):
            companions.learn(entity, 400.0 * n)
            lags.learn(entity, 400.0 * n)
    for n in range(3000, 3010):
        for late, entity in enumerate(("web", "db")):
            companions.learn(entity, 400.0 * n + 60.0 * late)
            lags.learn(entity, 2000.0 * n + 60.0 * late)
    assert companions.strength("web", "db") > 0.5, "it still learns"
    assert lags.of("db")["web"].seconds == pytest.approx(60.0)
    for one in (companions, lags):
        for known in vars(one).values():
            if isinstance(known, dict):
                assert len(known) <= 400


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


@pytest.mark.parametrize(
    ("delays", "last", "n_incidents"),
    [
        pytest.param((480, 470, 485), 480, 1, id="as always"),
        pytest.param((480, 470, 485), 120, 2, id="sooner than ever"),
        pytest.param((480, 100, 800), 480, 2, id="at any time"),
        pytest.param((480, 470), 480, 2, id="too seldom to know"),
    ],
)
def test_what_follows_another_each_time_as_late_belongs_to_it(
    delays: tuple[int, ...], last: int, n_incidents: int
) -> None:
    stream = Stream()
    for day, delay in enumerate((*delays, last)):
        begins = day * 86400.0
        stream.hear(
            episode("ReaderDown", at=begins, service="reader", nr=str(day)),
            episode("BacklogGrows", at=begins + delay, service="shelf", nr=str(day)),
        )
    stream.settle()
    groups = stream.correlator.groups.values()
    assert sum(group.last >= START + len(delays) * 86400.0 for group in groups) == n_incidents


def test_lags_forget_none_and_hold_no_more_than_they_may() -> None:
    lags = Lags()
    for n in range(MAX_RECENT + 50):
        lags.learn(f"burst-{n}", START)
    assert not lags.any_between([f"burst-{n}" for n in range(MAX_RECENT)], ["burst-0"])
    for day in range(4):
        lags.learn("a", START + (day + 1) * 86400.0)
        lags.learn("b", START + (day + 1) * 86400.0 + 300.0)
    assert lags.of("b")["a"].seconds == pytest.approx(300.0)
    assert lags.of("a")["b"].seconds == pytest.approx(-300.0)
    assert lags.any_between(["a"], {"b": 1})


def test_rules_that_speak_of_the_same_draw_each_other() -> None:
    others = [
        episode(name, at=-9000.0 + 600 * i, service=f"s{i}", text=text)
        for i, (name, text) in enumerate(
            [
                ("CpuHigh", "cpu above limit"),
                ("DiskFull", "volume is full"),
                ("PodCrash", "restarts"),
                ("Slow", "p99"),
            ]
        )
    ]
    leader = episode("NoLeader", at=0, service="raft", text="replication quorum lost, election runs")
    alike = episode("ElectionStuck", at=150, service="ledger", text="waits for a replication quorum")
    unlike = episode("QueueFull", at=150, service="ledger", text="messages are dropped")
    for follower, drawn in ((alike, True), (unlike, False)):
        stream = Stream()
        stream.hear(*others, leader, follower)
        group = stream.correlator.groups[stream.correlator.home[leader.key]]
        link = stream.correlator.bonds.link(sight(follower, stream.reader), group)
        assert ("words" in link.dimensions) is drawn


HALF_HOUR = 1800.0


@pytest.mark.parametrize(
    ("other", "ended_at", "n_incidents"),
    [
        pytest.param(episode("Slow", at=5, service="mailer"), 60 + HALF_HOUR, 2, id="only time binds"),
        pytest.param(episode("Slow", at=5, service="mailer"), 600, 1, id="it ends soon after"),
        pytest.param(episode("Slow", at=5, service="cart"), 60 + 1200, 1, id="the graph has patience"),
        pytest.param(episode("Slow", at=5, service="cart"), 60 + 4000, 2, id="and no more than that"),
        pytest.param(episode("Errors", at=5, service="mailer"), 60 + 1200, 1, id="the rule has patience"),
        pytest.param(
            episode("Slow", at=5, service="mailer", text="waits for cart-db"), 60 + 9000, 1, id="it names it"
        ),
        pytest.param(
            episode("Down", at=5, service="node-2", node="node-2"), 60 + 9000, 1, id="one runs on the other"
        ),
    ],
)
def test_what_ends_apart_parts(other: Episode, ended_at: float, n_incidents: int) -> None:
    other = msgspec.structs.replace(other)
    first = episode("Errors", at=0, service="cart-db")
    stream = Stream(GRAPH)
    stream.hear(first, other)
    assert len(stream.settle(200)) == 1, "they began together"
    stream.end(first, at=60)
    stream.end(other, at=ended_at)
    stream.correlator.advance(START + ended_at + 1)
    assert len(stream.correlator.groups) == n_incidents


def test_a_part_that_still_fires_parts_by_time_and_says_why() -> None:
    ends, fires = episode("Errors", at=0, service="search"), episode("Slow", at=5, service="mailer")
    stream = Stream(GRAPH)
    stream.hear(ends, fires)
    stream.settle(200)
    (before,) = stream.correlator.groups
    stream.end(ends, at=300)
    assert stream.correlator.advance(START + 301) == []
    due = stream.correlator.next_due()
    assert due == START + 300 + UNRELATED_SECONDS
    (split,) = stream.correlator.advance(due + 1)
    assert isinstance(split, Split)
    assert (split.out_of, split.moved) == (before, (fires.key,))
    assert "fired on 15 min after the others ended" in split.reason
    seen = stream.correlator.groups[split.new].members[fires.key]
    habits = stream.correlator.bonds.company(seen, stream.correlator.groups[split.new])
    assert habits > 0, "who began with it stays its company"


def test_what_parted_never_merges_again() -> None:
    ends, fires = episode("Errors", at=0, service="search"), episode("Slow", at=5, service="mailer")
    stream = Stream(GRAPH)
    stream.hear(ends, fires)
    stream.settle(200)
    stream.end(ends, at=300)
    stream.correlator.advance(START + 1300)
    one, other = stream.correlator.groups.values()
    assert stream.correlator._best(one, 0.0) == (None, None)
    assert stream.correlator._best(other, 0.0) == (None, None)


def test_a_rule_that_fired_on_many_at_once_stays_one_however_late_some_recover() -> None:
    many = [episode("HostDown", at=i, instance=f"10.0.0.{i}:9100") for i in range(8)]
    stream = Stream()
    stream.hear(*many)
    stream.settle(200)
    for i, one in enumerate(many):
        stream.end(one, at=600 + 3600.0 * i)
    stream.correlator.advance(START + 100_000)
    assert len(stream.correlator.groups) == 1


_onsets = st.integers(0, 1800)
_stories = st.lists(
    st.tuples(
        _onsets, st.sampled_from(["web", "cart", "cart-db", "search", "mailer"]), st.integers(30, 4000)
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(_stories, st.integers(0, 5000))
def test_what_lasts_stays_together(story: list[tuple[int, str, int]], cut: int) -> None:
    """Online: what the first part of a story shows to last is together when more follows, ends and all."""

    def tell(until: float) -> Stream:
        stream, events = Stream(GRAPH), []
        for i, (at, name, lasts) in enumerate(story):
            one = episode("Errors" if lasts % 2 else "Slow", at=at, service=name, nr=str(i))
            events += [(at + 1.0, i, one, None), (at + lasts + 1.0, i, one, at + lasts)]
        for at, _, one, end in sorted(events, key=lambda event: event[:2]):
            if at > until:
                break
            if end is None:
                stream.hear(one)
            else:
                stream.end(one, at=end)
        stream.correlator.advance(START + min(until, max(event[0] for event in events)))
        return stream

    head, whole = tell(cut), tell(1e9)
    for group in head.correlator.groups.values():
        for part in head.correlator.lasting(group):
            assert len({whole.correlator.home[key] for key in part.members}) == 1
    keys = [key for group in whole.correlator.groups.values() for key in group.members]
    assert len(keys) == len(set(keys)) == len(story), "each episode is in one incident"


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
