"""What is over is let go of: nothing may grow with the number of alerts that there ever were."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.records import Episode
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.deliveries import EPOCH, alert, delivery
from webhooks.correlate import entity
from webhooks.correlate.group import FIRST_MOVERS, MAX_ORIGINS
from webhooks.correlate.placing import Placing
from webhooks.incident import describe
from webhooks.intake.fold import Memory
from webhooks.judge.analyst import Analyst
from webhooks.offline import iso
from webhooks.quieten.flapping import FlapWatch
from webhooks.quieten.storms import Storms
from webhooks.quieten.transient import Transients

KEPT_SECONDS = 86_400.0


class Stream:
    """Alerts through memory and placing, on a clock set by hand."""

    def __init__(self, *, storm_at: float = 0.0) -> None:
        self.memory = Memory()
        storms = Storms(self.memory, at_least=storm_at, factor=1.0)
        self.placing = Placing(Analyst(), storms, FlapWatch(), Transients(60.0))
        self.now = 0.0

    @property
    def now_ns(self) -> int:
        return EPOCH + int(self.now * 1e9)

    def take(self, *alerts: dict[str, Any]) -> list[Episode]:
        changes = self.memory.fold([delivery(*alerts, at_seconds=self.now)])
        self.memory.apply(changes)
        current = [self.memory.episodes[key] for key in changes.written]
        self.placing.take([*changes.closed, *current], self.now_ns / 1e9)
        self.settle()
        return current

    def settle(self) -> None:
        while True:
            self.placing.place(self.now_ns / 1e9)
            if not self.placing.pending:
                break
        self.placing.unsaved = type(self.placing.unsaved)()

    def passed(self, seconds: float) -> None:
        self.now += seconds
        self.settle()
        before_ns = self.now_ns - int(KEPT_SECONDS * 1e9)
        self.memory.forget_resolved(before_ns)
        self.placing.forget(before_ns)

    def came_and_went(self, n: int, first: int = 0) -> None:
        """So many alerts, each of a pod that never was before, a few services' and rules' all."""
        for at in range(first, first + n):
            labels = {"service": f"svc-{at % 5}", "pod": f"pod-{at}", "instance": f"10.0.{at}.1:80"}
            begin = self.now_ns
            self.take(alert(f"Rule{at % 3}", starts=iso(begin), **labels))
            self.now += 60.0
            self.take(alert(f"Rule{at % 3}", starts=iso(begin), ends=iso(self.now_ns), **labels))
            self.passed(400.0)


def test_what_is_over_is_kept_for_a_day() -> None:
    """Late deliveries speak of it, and people look at it."""
    stream = Stream()
    stream.came_and_went(1)
    groups = stream.placing.analyst.correlator.groups
    stream.passed(KEPT_SECONDS - 3600.0)
    assert len(groups) == 1
    stream.passed(3600.0)
    assert not groups


def held(thing: object) -> Counter[str]:
    """How many entries every container has that one holds, by the path to it."""
    sizes: Counter[str] = Counter()
    seen: set[int] = set()

    def parts(one: object) -> Iterator[tuple[str, object]]:
        if isinstance(one, Mapping):
            yield from (("[]", part) for part in [*one.keys(), *one.values()])
        elif isinstance(one, (Sequence, Set, deque)):
            yield from (("[]", part) for part in one)
        elif type(one).__module__.startswith("webhooks"):
            slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
            names = {*getattr(one, "__dict__", ()), *getattr(one, "__struct_fields__", ()), *slots}
            yield from ((f".{name}", getattr(one, name, None)) for name in sorted(names))

    waiting: list[tuple[str, object]] = [("", thing)]
    while waiting:
        path, one = waiting.pop()
        if id(one) in seen or isinstance(one, (str, bytes, int, float)):
            continue
        seen.add(id(one))
        if isinstance(one, (Mapping, Sequence, Set, deque)):
            sizes[path] += len(one)
        waiting += [(path + name, part) for name, part in parts(one)]
    return sizes


def test_alerts_that_came_and_went_leave_nothing_for_each_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entity, "MAX_FOLDED", 40)
    stream = Stream()
    sizes = []
    for part in range(2):
        stream.came_and_went(60 + 120 * part, first=1000 * part)
        stream.passed(2 * KEPT_SECONDS)
        sizes.append(held([stream.placing, stream.memory]))
    assert not stream.placing.analyst.correlator.groups
    # The twofold number of alerts; what is learnt of rules and services has its own bounds.
    learnt = (".ordered", ".values", "._onsets", "._recent")
    grown = {
        path: (before, sizes[1][path])
        for path, before in (sizes[0] + Counter(sizes[1].keys())).items()
        if sizes[1][path] > before + 20 and not path.endswith(learnt)
    }
    assert grown == {}


def test_an_incident_that_never_ends_holds_what_it_began_with_and_a_day() -> None:
    stream = Stream()
    (chronic,) = stream.take(alert("Chronic", starts=iso(stream.now_ns), service="db"))
    n_come = FIRST_MOVERS + 300
    for at in range(n_come):
        begin = stream.now_ns
        stream.take(alert("Slow", starts=iso(begin), service="db", pod=f"p-{at}"))
        stream.now += 60.0
        stream.take(alert("Slow", starts=iso(begin), ends=iso(stream.now_ns), service="db", pod=f"p-{at}"))
        stream.passed(40.0)
    correlator = stream.placing.analyst.correlator
    (group,) = correlator.groups.values()
    assert len(group.members) == n_come + 1, "all of it is of today"
    stream.passed(2 * KEPT_SECONDS)

    assert correlator.groups[group.incident_id] is group
    assert chronic.key in group.members
    assert chronic.key in group.firing
    assert len(group.members) == FIRST_MOVERS
    assert correlator.home.keys() == group.members.keys()
    party = group.parties[correlator.groups[group.incident_id].members[chronic.key].entity]
    assert len(party.sightings) == len(party.onsets) == FIRST_MOVERS
    verdict = stream.placing.analyst.consider(group, now=stream.now_ns / 1e9, usual={})
    assert describe(group, verdict, now_ns=stream.now_ns).n_episodes == n_come + 1
    # What comes now is taken in as before.
    (new,) = stream.take(alert("Slow", starts=iso(stream.now_ns), service="db", pod="p-new"))
    assert new.key in correlator.home


def test_an_incident_parted_again_and_again_keeps_the_newest_of_what_it_was() -> None:
    stream = Stream()
    for at in range(MAX_ORIGINS + 3):
        stream.take(alert(f"Rule{at}", starts=iso(stream.now_ns), service="db", pod=f"p-{at}"))
    correlator = stream.placing.analyst.correlator
    (group,) = correlator.groups.values()
    while len(group.members) > 1:
        last = next(reversed(group.members))
        correlator.split(group, {last}, "by a test")
        group = correlator.groups[group.incident_id]
    depth, origin = 0, group.origin
    while origin is not None:
        depth, origin = depth + 1, origin.origin
    assert depth == MAX_ORIGINS


def test_a_storm_that_is_over_for_long_leaves_no_record() -> None:
    stream = Stream(storm_at=5.0)
    begin = stream.now_ns
    pods = range(20)
    stream.take(*(alert("Down", starts=iso(begin), service="db", pod=f"p-{at}") for at in pods))
    (storm,) = stream.placing.storms.known.values()
    record = storm.incident(stream.placing.analyst, now_ns=stream.now_ns)
    stream.placing.known[record.incident_id] = record
    stream.now += 60.0
    ends = iso(stream.now_ns)
    stream.take(*(alert("Down", starts=iso(begin), ends=ends, service="db", pod=f"p-{at}") for at in pods))
    stream.passed(600.0)
    assert record.incident_id in stream.placing.known
    stream.passed(2 * KEPT_SECONDS)
    assert stream.placing.storms.known == {}
    assert stream.placing.known == {}


def test_texts_that_alerts_have_in_common_are_held_once() -> None:
    stream = Stream()
    for pod in ("p-1", "p-2"):
        stream.take(alert("Down", starts=iso(stream.now_ns), service="a-service", pod=pod))
    one, other = stream.memory.episodes.values()
    assert one.labels["service"] is other.labels["service"]
    assert one.annotations["summary"] is other.annotations["summary"]
    assert one.generator_url is other.generator_url


async def test_they_are_held_once_after_a_restart_too(tmp_path: Path) -> None:
    stream = Stream()
    known = [
        *stream.take(alert("Down", starts=iso(stream.now_ns), service="a-service", pod="p-1")),
        *stream.take(alert("Down", starts=iso(stream.now_ns), service="a-service", pod="p-2")),
    ]
    for episode in known:
        episode.incident_id = "inc-1"
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    await store.commit_deliveries([], known)
    one, other = await store.recent_episodes(0)
    await store.close()
    assert one.labels["service"] is other.labels["service"]
    assert one.generator_url is other.generator_url
    assert one.incident_id is other.incident_id
    assert one.tenant is other.tenant
