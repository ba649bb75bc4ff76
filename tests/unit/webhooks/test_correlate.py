"""Incidents by time, labels and mentions; causes by onset, blame and words."""

from __future__ import annotations

import pytest

from sidecar.records import Cause, Episode
from tests.unit.webhooks.deliveries import EPOCH, SECOND
from webhooks.cause import rank
from webhooks.correlate import Group, features
from webhooks.correlate import choose as choose_group
from webhooks.identity import LabelStatistics, service_of

GAP = 300 * SECOND


def episode(name: str, *, at: float, text: str = "", **labels: str) -> Episode:
    start = EPOCH + int(at * SECOND)
    return Episode(
        tenant="default",
        fingerprint=f"{name}{sorted(labels.items())}",
        starts_at_ns=start,
        ends_at_ns=None,
        labels={"alertname": name, **labels},
        annotations={"summary": text or name},
        generator_url="",
        first_seen_ns=start + SECOND,
        last_seen_ns=start + SECOND,
    )


def group(*members: Episode) -> tuple[Group, LabelStatistics]:
    statistics = LabelStatistics()
    one = Group("inc-1", "default")
    for member in members:
        statistics.learn(member.labels)
        one.add(features(member, statistics))
    return one, statistics


def choose(new: Episode, groups: list[Group], statistics: LabelStatistics, *, gap_ns: int) -> Group | None:
    return choose_group(features(new, statistics), groups, gap_ns=gap_ns)


def causes(*members: Episode) -> list[Cause]:
    return rank(group(*members)[0].services.values())


def test_a_shared_service_binds_within_the_gap_and_not_beyond() -> None:
    one, statistics = group(episode("Slow", at=0, service="search"))
    near = episode("Errors", at=240, service="search")
    far = episode("Errors", at=900, service="search")
    assert choose(near, [one], statistics, gap_ns=GAP) is one
    assert choose(far, [one], statistics, gap_ns=GAP) is None


def test_unrelated_alerts_bind_only_when_they_start_together() -> None:
    one, statistics = group(episode("Slow", at=0, service="search"))
    assert choose(episode("Other", at=30, service="billing"), [one], statistics, gap_ns=GAP) is one
    assert choose(episode("Other", at=250, service="billing"), [one], statistics, gap_ns=GAP) is None


def test_a_mention_binds() -> None:
    one, statistics = group(episode("EdgeErrors", at=0, service="cdn"))
    blames = episode("Buffering", at=200, service="player", text="stalls behind cdn")
    assert choose(blames, [one], statistics, gap_ns=GAP) is one


def test_tenants_never_mix() -> None:
    one, statistics = group(episode("Slow", at=0, service="search"))
    other = episode("Slow", at=0, service="search")
    other.tenant = "b"
    assert choose(other, [one], statistics, gap_ns=GAP) is None


def test_labels_that_all_alerts_carry_bind_nothing() -> None:
    statistics = LabelStatistics()
    for i in range(20):
        statistics.learn({"cluster": "one", "service": f"s{i}"})
    assert statistics.telling({"cluster": "one", "service": "s1", "instance": "x"}) == {("service", "s1")}


def test_label_values_without_end_are_not_all_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.identity.MAX_VALUES", 100)
    statistics = LabelStatistics()
    for i in range(1000):
        statistics.learn({"cluster": "eu", "path": f"/{i}"})
    assert len(statistics._values) <= 100
    assert statistics.telling({"cluster": "eu", "path": "/1"}) == {("path", "/1")}


def test_the_cause_is_the_edge_that_failed_first_and_is_blamed() -> None:
    ranked = causes(
        episode("ApiGatewayErrors", at=60, service="api-gateway", text="5xx from player and cdn"),
        episode("BufferingRatioHigh", at=30, service="player", text="buffering rises behind cdn edge fra"),
        episode("CdnEdgeFailing", at=0, service="cdn", text="edge fra fails requests"),
    )
    assert next(cause.service for cause in ranked) == "cdn"
    assert "alerted first" in ranked[0].reasons
    assert any("named in the alerts of" in reason for reason in ranked[0].reasons)


def test_a_symptom_that_alerts_first_is_not_the_cause() -> None:
    ranked = causes(
        episode("LatencyHigh", at=0, service="web", text="slow, upstream db"),
        episode("DatabaseDown", at=20, service="db", text="db is down"),
    )
    assert ranked[0].service == "db"


def test_nothing_has_no_cause() -> None:
    assert rank([]) == []


def test_names() -> None:
    assert service_of({"alertname": "A", "pod": "p", "app": "shop"}) == "shop"
    assert service_of({"alertname": "A"}) == "A"
    one, _ = group(episode("A", at=0, a="1", b="2"), episode("A", at=0, a="1", b="3"))
    assert one.shared == {"alertname": "A", "a": "1"}
