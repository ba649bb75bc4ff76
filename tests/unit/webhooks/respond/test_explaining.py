"""Which incident waits for another one: its parent's, and of circles all but one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from sidecar.config.load import load_text
from sidecar.config.model import StoreConfig
from sidecar.config.response import Dependency
from sidecar.records import Cause, Incident
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.respond.incidents import Clock, desk_over, incident, plain_enricher
from webhooks.respond.audience import TeamAudience
from webhooks.respond.explaining import Explained


@pytest.mark.parametrize(
    ("parent", "explains"),
    [
        pytest.param({"shared_labels": {"service": "switch"}}, True, id="the parent is open"),
        pytest.param({"shared_labels": {"service": "switch"}, "state": "resolved"}, False, id="it is over"),
        pytest.param({"shared_labels": {"service": "switch"}, "priority": "P4"}, False, id="it is noise"),
        pytest.param({"shared_labels": {"service": "other"}}, False, id="another one"),
    ],
)
def test_a_child_waits_for_its_parent(parent: dict[str, object], explains: bool) -> None:
    rule = Dependency(child={"service": "db"}, parent={"service": "switch"})
    both = [incident(), incident("p", **parent)]
    assert bool(Explained(both, [rule]).why(incident())) is explains


def test_of_incidents_that_explain_each_other_one_is_told_of() -> None:
    """A pattern that fits parents, too, must not hold everything back."""
    rule = Dependency(child={"service": ".*"}, parent={"service": "db.*"})
    both = [
        incident(name, causes=[Cause("f", name, 1.0, [])], started_at_ns=at)
        for name, at in (("db1", 7), ("db2", 5), ("web", 1))
    ]
    told = [one.incident_id for one in both if not Explained(both, [rule]).why(one)]
    assert told == ["db2"]


def linked(name: str, *others: str) -> list[Dependency]:
    return [Dependency(child={"service": name}, parent={"service": other}) for other in others]


def told_of(rules: list[Dependency], *incidents: Incident) -> list[str]:
    held = Explained(incidents, rules)
    return [one.incident_id for one in incidents if not held.why(one)]


def of_service(name: str, **fields: object) -> Incident:
    return incident(name, shared_labels={"service": name}, **fields)


A, B, C, D = (of_service(name, started_at_ns=at) for at, name in enumerate("abcd"))
CIRCLE = [*linked("a", "b"), *linked("b", "c"), *linked("c", "a")]


@pytest.mark.parametrize(
    ("rules", "incidents", "told"),
    [
        pytest.param(CIRCLE, [A, B, C], ["a"], id="of a circle the first"),
        pytest.param(CIRCLE, [C, B, A], ["a"], id="in whatever order they come"),
        pytest.param(CIRCLE, [A, of_service("b", priority="P1"), C], ["b"], id="the most urgent of a circle"),
        pytest.param(CIRCLE, [B, C], ["c"], id="a circle that is open no longer is a chain"),
        pytest.param([*CIRCLE, *linked("c", "d")], [A, B, C, D], ["d"], id="a circle that is explained"),
        pytest.param([*CIRCLE, *linked("d", "b")], [A, B, C, D], ["a"], id="what a circle explains"),
        pytest.param(linked("a", "a"), [A], ["a"], id="by itself"),
        pytest.param([*linked("a", "b"), *linked("c", "d")], [A, B, C, D], ["b", "d"], id="two pairs"),
    ],
)
def test_of_a_circle_one_is_told_of(
    rules: list[Dependency], incidents: list[Incident], told: list[str]
) -> None:
    assert told_of(rules, *incidents) == told


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("abcdef")), max_size=12),
    st.permutations("abcdef"),
)
def test_whatever_is_held_back_is_explained_by_something_that_is_told(
    pairs: list[tuple[str, str]], order: list[str]
) -> None:
    rules = [rule for child, parent in pairs for rule in linked(child, parent)]
    incidents = [of_service(name, started_at_ns=at) for at, name in enumerate(order)]
    above = {name: {name} for name in order}
    for _ in order:
        for child, parent in pairs:
            above[child] |= above[parent]
    told = set(told_of(rules, *incidents))
    for name in order:
        assert bool((above[name] - {name}) & told) is (name not in told)


NIGHT = """
notify: {targets: [{name: chat, url: "http://x"}]}
response: {dependencies: [{child: {service: db}, parent: {service: switch}}]}
teams:
  - name: rest
    steps: [{targets: [chat]}]
    quiet: [{span: "00:00-24:00", timezone: UTC, wakes: P1}]
"""


async def test_what_waits_for_the_morning_keeps_nothing_more_urgent_waiting(tmp_path: Path) -> None:
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    desk = desk_over(store)
    clock = Clock()
    audience = TeamAudience(
        load_text(NIGHT),
        desk,
        secret=b"",
        enricher=plain_enricher(),
        on_call=lambda _, __: None,
        now=clock,
    )
    db = of_service("db", priority="P1")
    desk.observe([db, of_service("switch")])
    assert audience.held_back(db, now=clock.now) == "", "its parent's team sleeps"
    desk.observe([of_service("switch", priority="P1")])
    assert "on which it depends" in audience.held_back(db, now=clock.now)
    desk.observe([of_service("switch", state="resolved")])
    assert audience.held_back(db, now=clock.now) == ""
    await desk.stop()
    await store.close()
