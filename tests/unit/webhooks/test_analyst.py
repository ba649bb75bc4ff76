"""What is said of an incident: whom an alert is about, its words, causes, noise, priority."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.records import Episode
from tests.unit.webhooks.deliveries import EPOCH, SECOND
from tests.unit.webhooks.test_correlate import GRAPH, Stream, episode
from webhooks.correlate.entity import EntityReader
from webhooks.correlate.group import Group
from webhooks.correlate.labels import plain
from webhooks.correlate.sighting import sight
from webhooks.correlate.topology import Topology, TopologyError, load
from webhooks.correlate.wording import read
from webhooks.incident import describe
from webhooks.judge.analyst import DOUBTFUL_AT, NOISE_AT, Analyst, Verdict
from webhooks.judge.noise import NoiseWeights
from webhooks.offline import correlate


@pytest.mark.parametrize(
    ("labels", "entity"),
    [
        pytest.param({"service": "Cart"}, "cart", id="service"),
        pytest.param({"pod": "cart-5d9f7c6b8-x2x4z"}, "cart", id="pod of a deployment"),
        pytest.param({"pod": "kafka-2"}, "kafka", id="pod of a stateful set"),
        pytest.param({"k8s_deployment_name": "cart"}, "cart", id="prefixed label name"),
        pytest.param({"svc": "cart"}, "cart", id="synonym"),
        pytest.param({"instance": "cart-db-0.shop.svc:9187", "job": "pg-exporter"}, "cart-db", id="headless"),
        pytest.param({"instance": "10.1.2.3:9100", "job": "node-exporter"}, "10.1.2.3", id="address"),
        pytest.param({"instance": "https://shop.example.com/health"}, "shop", id="probe"),
        pytest.param({"persistentvolumeclaim": "data-cart-db-0"}, "cart-db", id="claim"),
        pytest.param({"job": "cart", "instance": "10.1.2.3:80"}, "cart", id="job of the service itself"),
        pytest.param({"deployment": "cart", "job": "kube-state-metrics"}, "cart", id="job of a scraper"),
        pytest.param({"serviceName": "cart"}, "cart", id="camel case"),
        pytest.param({"owner": "shop", "pod": "cart-0"}, "cart", id="an owner is a team"),
        pytest.param({"owner_name": "cart", "job": "kube-state-metrics"}, "cart", id="a pod's owner"),
        pytest.param({"service": "shop/cart"}, "cart", id="with its namespace"),
        pytest.param({"service": "cart.shop.svc.cluster.local"}, "cart", id="name in the cluster's DNS"),
        pytest.param({"app": "prod-cart"}, "cart", id="the live one"),
        pytest.param({"app": "cart-production"}, "cart", id="the live one, said after"),
        pytest.param({"app": "staging-cart"}, "staging-cart", id="another system"),
        pytest.param({"topic": "orders/paid"}, "orders/paid", id="topic with a path"),
        pytest.param({"function_name": "resize"}, "resize", id="function"),
        pytest.param({}, "rule", id="nothing but a name"),
    ],
)
def test_whom_an_alert_is_about(labels: dict[str, str], entity: str) -> None:
    assert EntityReader().read({"alertname": "Rule", **labels}, {}).entity == entity


def test_what_an_operator_folds_makes_no_other_thing() -> None:
    reader = EntityReader(folds=[("service", r"-v\d+$"), ("service", "^all$")])
    read = [reader.read({"service": name}, {}).entity for name in ("cart", "cart-v12", "pay-v1", "all")]
    assert read == ["cart", "cart", "pay", "all"], "what would be left empty stays"


def test_the_graph_decides_between_labels() -> None:
    reader = EntityReader(GRAPH)
    labels = {"alertname": "R", "service": "metrics-agent", "pod": "cart-db-0"}
    assert reader.read(labels, {}).entity == "cart-db"
    assert reader.read({"alertname": "R", "thing": "mailer"}, {}).entity == "mailer"
    assert reader.read({"alertname": "R", "service": "mailer-service"}, {}).entity == "mailer"
    assert not reader.read({"alertname": "R", "service": "search", "squad": "mailer"}, {}).others


def test_an_ordinary_word_is_no_mention_unless_pointed_at() -> None:
    reader = EntityReader(GRAPH)
    own = {"alertname": "R", "service": "mailer"}
    assert not reader.read(own, {"summary": "search is disabled in the cart"}).mentions
    assert reader.read(own, {"summary": "errors from cart"}).mentions == {"cart"}
    assert reader.read(own, {"summary": "cart-db refuses"}).mentions == {"cart-db"}


def test_plain_labels_keep_the_plainer_one() -> None:
    assert plain({"exported_service": "b", "service": "a"}) == {"service": "a"}


@pytest.mark.parametrize(
    ("name", "text", "hard", "cause"),
    [
        pytest.param("HighErrorRate", "30% of requests fail", True, None, id="errors"),
        pytest.param("HighLatency", "p99 latency is 2 s", False, -1.0, id="latency"),
        pytest.param("DatabaseDown", "db is down", True, 1.0, id="down"),
        pytest.param("TargetDown", "20% of the targets are down", False, 0.0, id="targets"),
        pytest.param("DiskFillingUp", "volume fills up", False, 1.0, id="filling"),
        pytest.param("Surge", "request rate is 5x the usual", False, 1.0, id="load"),
        pytest.param("BlackboxProbeHttpFailure", "status is not 200", True, None, id="probe"),
        pytest.param("TooManyErrors", "the api throws", True, None, id="too many errors"),
        pytest.param("EtcdNoLeader", "", True, 1.0, id="no leader"),
        pytest.param("ThreadPoolExhausted", "on checkout", False, 1.0, id="exhausted"),
        pytest.param("QueueBacklog", "consumer lag grows", False, -1.0, id="backlog"),
        pytest.param("DnsFailures", "lookups fail", True, 1.0, id="names"),
        pytest.param("UpstreamErrors", "calls from a to b fail", False, None, id="blames another"),
        pytest.param("OutboundCallsFailing", "", False, None, id="blames others by its name"),
    ],
)
def test_words(name: str, text: str, hard: bool, cause: float | None) -> None:
    wording = read(name, {"summary": text})
    assert wording.hard is hard
    if cause is not None:
        assert wording.cause == cause


def test_how_long_it_held_is_read() -> None:
    assert read("X", {"d": "not ready for longer than 10 minutes"}).held_seconds == 600
    assert read("X", {"d": "expires in less than 3 days"}).held_seconds == 0


def ended(one: Episode, seconds: float) -> Episode:
    one.state, one.ends_at_ns = "resolved", one.starts_at_ns + int(seconds * SECOND)
    return one


def verdict(*episodes: Episode, topology: Topology | None = GRAPH, analyst: Analyst | None = None) -> Verdict:
    """What is thought of the incident of the first of the episodes."""
    analyst = analyst or Analyst(topology)
    stream = Stream(topology)
    stream.reader, stream.correlator = analyst.reader, analyst.correlator
    stream.hear(*episodes)
    stream.settle()
    groups = analyst.correlator.groups
    for group in groups.values():
        analyst.learn(group)
    group = groups[analyst.correlator.home[episodes[0].key]]
    now = max(e.first_seen_ns for e in episodes) / SECOND + 7200
    return analyst.consider(group, now=now, usual={})


def test_the_cause_is_what_the_others_depend_on() -> None:
    said = verdict(
        episode("HighErrorRate", at=0, service="web", text="requests fail"),
        episode("HighLatency", at=20, service="cart", text="p99 latency high"),
        episode("SlowQueries", at=40, service="cart-db", text="lock waits"),
    )
    assert said.causes[0].service == "cart-db"
    assert any("depend on it" in reason for reason in said.causes[0].reasons)


def test_a_silent_cause_is_named() -> None:
    said = verdict(
        episode("HighErrorRate", at=0, service="web", text="errors from cart"),
        episode("Timeouts", at=10, service="search", text="timeouts calling cart"),
    )
    assert "cart" in [cause.service for cause in said.causes[:2]]
    silent = next(cause for cause in said.causes if cause.service == "cart")
    assert silent.fingerprint is None
    assert "it has no alert of its own" in silent.reasons


@pytest.mark.parametrize(
    ("episodes", "priority"),
    [
        pytest.param([("HighErrorRate", "web", "requests fail")], "P1", id="the gateway fails"),
        pytest.param(
            [("HighErrorRate", "web", "requests fail"), ("HighErrorRate", "cart", "requests fail")],
            "P0",
            id="the gateway and half of tier 1 fail",
        ),
        pytest.param([("HighLatency", "web", "p99 latency")], "P2", id="the gateway is slow"),
        pytest.param([("HighLatency", "mailer", "p99 latency")], "P3", id="a back service is slow"),
    ],
)
def test_priority(episodes: list[tuple[str, str, str]], priority: str) -> None:
    said = verdict(*(episode(name, at=i, service=s, text=t) for i, (name, s, t) in enumerate(episodes)))
    assert said.urgency.priority == priority
    assert said.urgency.reasons


def test_heartbeats_and_severity_none_are_noise() -> None:
    assert verdict(episode("Watchdog", at=0, severity="none")).urgency.priority == "P4"
    assert verdict(episode("Pulse", at=0, text="this alert is always firing")).noise > 0.9


def test_a_heartbeat_is_of_no_incident_though_it_begins_with_others() -> None:
    stream = Stream(GRAPH)
    stream.hear(
        episode("Watchdog", at=0, text="alerting works"),
        episode("HighErrorRate", at=0, service="cart", text="requests fail"),
        episode("HighErrorRate", at=1, service="web", text="requests fail"),
    )
    assert sorted(map(len, stream.settle())) == [1, 2]


@pytest.mark.parametrize(
    ("name", "text", "heartbeat"),
    [
        pytest.param("Watchdog", "", True, id="by its name"),
        pytest.param("DeadMansSwitch", "", True, id="another name"),
        pytest.param("Pulse", "This alert is always firing.", True, id="by its text"),
        pytest.param(
            "SoftLockup", "the kernel's watchdog barks on node-1", False, id="a watchdog of a kernel"
        ),
        pytest.param("AgentHeartbeatMissing", "no heartbeat of agent 7", False, id="one that is missed"),
    ],
)
def test_what_is_a_heartbeat(name: str, text: str, heartbeat: bool) -> None:
    assert read(name, {"summary": text}).heartbeat == heartbeat


def _story(*, like_company: bool) -> list[Episode]:
    """Incidents of two, and lone alerts that are as long as those, or much shorter."""
    story = []
    for i in range(12):
        at = i * 7200.0
        story += [
            ended(episode("HighErrorRate", at=at, service="cart", nr=str(i)), 1800),
            ended(episode("HighErrorRate", at=at + 10, service="web", nr=str(i)), 1800),
            ended(
                episode("HighErrorRate", at=at + 3600, service="mailer", nr=str(i)),
                1800 if like_company else 60,
            ),
        ]
    return story


def test_short_lone_recurring_alerts_are_noise_and_their_likes_in_company_are_not() -> None:
    story = _story(like_company=False)
    lone = [e for e in story if e.labels["service"] == "mailer"][-1]
    pair = [e for e in story if e.labels["service"] == "cart"][-1]
    assert verdict(lone, *(e for e in story if e is not lone)).noise > 0.5
    assert verdict(pair, *(e for e in story if e is not pair)).noise < 0.2


def test_recurrence_alone_is_not_enough() -> None:
    """Where lone alerts last as long as others, coming again is no proof of noise."""
    story = _story(like_company=True)[:12]
    lone = [e for e in story if e.labels["service"] == "mailer"][-1]
    assert verdict(lone, *(e for e in story if e is not lone)).noise < 0.5


def line(at: float, *alerts: dict[str, Any]) -> bytes:
    stamp = f"2026-01-01T00:{int(at // 60):02d}:{int(at % 60):02d}Z"
    return json.dumps({"received_at": stamp, "payload": {"version": "4", "alerts": list(alerts)}}).encode()


def alert(service: str, starts: str = "2026-01-01T00:00:00Z", ends: str | None = None) -> dict[str, Any]:
    return {
        "status": "resolved" if ends else "firing",
        "labels": {"alertname": "HighErrorRate", "service": service},
        "annotations": {"summary": "requests fail"},
        "startsAt": starts,
        "endsAt": ends or "0001-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("n_failing", "priority"), [pytest.param(4, "P2", id="some fail"), pytest.param(5, "P1", id="many fail")]
)
def test_what_has_much_failing_beneath_it_is_felt_without_an_alert_of_its_own(
    n_failing: int, priority: str
) -> None:
    names = [f"part-{i}" for i in range(5)]
    rows = [{"name": "web", "kind": "gateway", "tier": 1, "depends_on": ["core"]}]
    rows += [{"name": "core", "tier": 2, "depends_on": names}, *({"name": n, "tier": 2} for n in names)]
    failing = [
        episode("HighErrorRate", at=i, service=name, text="requests fail")
        for i, name in enumerate(names[:n_failing])
    ]
    assert verdict(*failing, topology=Topology.of({"services": rows})).urgency.priority == priority


def test_recorded_deliveries_become_incidents() -> None:
    complaints: list[str] = []
    lines = [
        line(1, alert("cart"), alert("web")),
        b"{not json",
        line(1, alert("cart"), alert("web")),
        line(200, alert("cart", ends="2026-01-01T00:03:00Z")),
        line(260, alert("web", ends="2026-01-01T00:04:00Z")),
        b"",
    ]
    (incident,) = correlate(lines, topology=GRAPH, warn=complaints.append)
    assert len(incident["alerts"]) == 2
    assert incident["root_cause"]["service"] == "cart"
    assert incident["priority"] == "P0"
    assert incident["ended_at"] == "2026-01-01T00:04:00Z"
    assert incident["so_far_with"] == []
    assert len(complaints) == 1
    assert complaints[0].startswith("line 2: ")


def test_what_may_still_part_at_the_end_of_a_record_is_written_apart() -> None:
    lines = [line(1, alert("cart"), alert("web")), line(200, alert("cart", ends="2026-01-01T00:03:00Z"))]
    one, other = correlate(lines, topology=GRAPH)
    assert one["so_far_with"] == [other["incident_id"]]
    assert other["so_far_with"] == [one["incident_id"]]


def test_what_began_just_before_the_end_of_a_record_is_put_with_what_it_belongs_to() -> None:
    """Live it waits a minute for that; a record of one delivery had an incident for each of its alerts."""
    over = [alert(name, ends="2026-01-01T00:00:20Z") for name in ("cart", "web")]
    (incident,) = correlate([line(1, alert("cart"), alert("web")), line(21, *over)], topology=GRAPH)
    assert len(incident["alerts"]) == 2
    one, other = correlate([line(1, alert("cart"), alert("web"))], topology=GRAPH)
    assert one["so_far_with"] == [other["incident_id"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param("[]", "holds no mapping", id="a list"),
        pytest.param("services: {a: 1}", "services: a list", id="services no list"),
        pytest.param("services: [{kind: x}]", "services[0]", id="no name"),
        pytest.param("services: [{name: a, depends_on: b}]", "services[0].depends_on", id="edges no list"),
        pytest.param("a: [", "topology file", id="no YAML"),
    ],
)
def test_a_broken_topology_is_named(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "topology.yaml"
    file.write_text(content)
    with pytest.raises(TopologyError, match="topology file") as caught:
        load(file)
    assert words in str(caught.value)


def test_hops_nodes_and_hubs() -> None:
    rows = [{"name": f"s{i}", "depends_on": ["dns"]} for i in range(10)]
    graph = Topology.of({"services": [*rows, {"name": "dns"}, {"name": "edge", "depends_on": ["s1"]}]})
    assert graph.hubs == {"dns"}
    assert graph.callees["edge"] == {"s1": 1, "dns": 2}
    assert GRAPH.callers["cart-db"] == {"cart": 1, "web": 2}
    assert GRAPH.guests["node-1"] == {"cart"}


@pytest.mark.parametrize(
    ("consent", "priority"),
    [pytest.param(False, "P1", id="no consent"), pytest.param(True, "P4", id="consent")],
)
def test_noise_silences_no_page_by_itself(consent: bool, priority: str) -> None:
    one = episode("HighErrorRate", at=0, service="web", text="requests fail", severity="none")
    said = verdict(one)
    group = Group("i1", "default", "", 0.0)
    group.add(sight(one, EntityReader(GRAPH)))
    assert describe(group, said, now_ns=EPOCH, noise_may_silence=consent).priority == priority


@pytest.mark.parametrize(
    ("lasted", "priority"),
    [pytest.param(None, "P1", id="while it fires"), pytest.param(300, "P2", id="once it is over")],
)
def test_a_page_that_is_doubtful_ends_with_its_alert(lasted: float | None, priority: str) -> None:
    doubting = Analyst(GRAPH, noise=NoiseWeights(base=-0.8))
    one = episode("HighErrorRate", at=0, service="web", text="requests fail")
    said = verdict(one if lasted is None else ended(one, lasted), analyst=doubting)
    assert DOUBTFUL_AT < said.noise < NOISE_AT
    assert said.urgency.priority == priority


def test_an_alert_heard_of_late_is_not_chronic() -> None:
    """Its start may be long ago; that nothing followed is known only since we listen."""
    one = episode("HighErrorRate", at=0, service="mailer")
    one.first_seen_ns = one.last_seen_ns = one.starts_at_ns + 20 * 3600 * SECOND
    assert verdict(one).noise < 0.5
