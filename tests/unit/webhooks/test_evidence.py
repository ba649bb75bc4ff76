"""Changes and anomalies bind alerts and name causes; call graphs come from metrics."""

from __future__ import annotations

import asyncio
import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from sidecar.config.webhook import WebhookAuth
from sidecar.events import Event, EventBus
from sidecar.records import Episode, Feedback
from sidecar.series import LabelSet, SeriesBatch
from webhooks.correlate.group import Group
from webhooks.correlate.topology import Topology
from webhooks.correlate.verdicts import MOST_OF_ALL
from webhooks.judge.analyst import Analyst
from webhooks.judge.evidence import Anomaly, Change, Evidence
from webhooks.judge.evidence_feed import CALLS, CHANGES_PATH, GENERATIONS, ChangesEndpoint, EvidenceFeed
from webhooks.risk.signals import SignalRecorder

T0 = 1_767_225_600.0


def episode(name: str, at: float, **labels: str) -> Episode:
    start = int((T0 + at) * 1e9)
    return Episode(
        tenant="default",
        fingerprint=f"{name}/{labels}",
        starts_at_ns=start,
        ends_at_ns=None,
        labels={"alertname": name, **labels},
        annotations={},
        generator_url="",
        first_seen_ns=start,
        last_seen_ns=start,
    )


def heard(analyst: Analyst, *episodes: Episode) -> list[Group]:
    for one in episodes:
        analyst.correlator.add(analyst.sight(one), now=one.first_seen_ns / 1e9)
    analyst.correlator.advance(T0 + 3600.0)
    return list(analyst.correlator.groups.values())


FAR = (episode("SlowCheckout", 0.0, service="checkout"), episode("QueueGrows", 400.0, service="mailer"))
"""Two alerts that nothing else binds."""


def test_without_evidence_they_stay_apart() -> None:
    assert len(heard(Analyst(), *FAR)) == 2


def test_metrics_that_went_wrong_together_bind_their_alerts() -> None:
    analyst = Analyst()
    for service, at in (("checkout", -20.0), ("mailer", -10.0)):
        analyst.evidence.add_anomaly(service, Anomaly(T0 + at, 3.0, "latency"))
    (group,) = heard(analyst, *FAR)
    (link,) = group.links.values()
    assert link.dimensions["anomaly"] > 0.25


def test_anomalies_of_different_times_bind_nothing() -> None:
    analyst = Analyst()
    analyst.evidence.add_anomaly("checkout", Anomaly(T0 - 20.0, 3.0, "latency"))
    analyst.evidence.add_anomaly("mailer", Anomaly(T0 + 390.0, 3.0, "latency"))
    assert len(heard(analyst, *FAR)) == 2


def test_one_change_of_both_binds_them_and_one_of_another_does_not() -> None:
    shared, other = Analyst(), Analyst()
    shared.evidence.add_change(["checkout", "mailer"], Change(T0 - 60.0, "flag", "new-queue on"))
    other.evidence.add_change(["checkout"], Change(T0 - 60.0, "deploy", "v2"))
    other.evidence.add_change(["mailer"], Change(T0 - 61.0, "deploy", "v7"))
    assert len(heard(shared, *FAR)) == 1
    assert len(heard(other, *FAR)) == 2


def test_what_was_changed_just_before_is_the_first_suspect_with_its_reason() -> None:
    both = (episode("Errors", 0.0, service="cart"), episode("Errors", 1.0, service="pay"))
    plain, told = Analyst(), Analyst()
    told.evidence.add_change(["pay"], Change(T0 - 240.0, "deploy", "v1.2.3"))
    told.evidence.add_anomaly("pay", Anomaly(T0 - 100.0, 5.0, "errors"))
    for analyst in (plain, told):
        heard(analyst, *both)
    (before,), (after,) = plain.correlator.groups.values(), told.correlator.groups.values()
    assert plain.consider(before, now=T0 + 60.0, usual={}).causes[0].service == "cart"
    (first, *_) = told.consider(after, now=T0 + 60.0, usual={}).causes
    assert first.service == "pay"
    assert "changed 241 s before (deploy: v1.2.3)" in first.reasons
    assert "its metrics (errors) left the expected 101 s before" in first.reasons


def test_a_silent_dependency_that_was_changed_becomes_a_suspect() -> None:
    graph = Topology.of({"services": [{"name": "web", "depends_on": ["auth"]}, {"name": "auth"}]})
    analyst = Analyst(graph)
    analyst.evidence.add_change(["auth"], Change(T0 - 30.0, "deploy"))
    (group,) = heard(analyst, episode("Errors", 0.0, service="web"))
    assert "auth" in [cause.service for cause in analyst.consider(group, now=T0, usual={}).causes]


def test_evidence_is_bounded_and_forgotten() -> None:
    evidence = Evidence()
    for i in range(500):
        evidence.add_change(["one"], Change(T0 + i, "deploy"))
        evidence.add_change(["one"], Change(T0 + i, "deploy"))
    assert evidence.change_before("one", T0 + 10_000.0) is None, "too long ago"
    assert evidence.change_before("one", T0 + 500.0) == Change(T0 + 499.0, "deploy")
    evidence.forget(T0 + 1000.0)
    assert not evidence


class Notes(dict[str, bytes]):
    """A store of notes."""

    async def note(self, name: str) -> bytes | None:
        return self.get(name)

    async def put_note(self, name: str, body: bytes) -> None:
        self[name] = body


class Prometheus:
    """Answers with label sets, by expression."""

    def __init__(self, answers: dict[str, list[dict[str, str]]]) -> None:
        self.answers = answers

    async def instant(self, expr: str, **_: Any) -> SeriesBatch:
        labels = tuple(LabelSet(row) for row in self.answers.get(expr, ()))
        return SeriesBatch("x", labels, np.array([0], dtype=np.int64), np.ones((len(labels), 1)))


def feed(analyst: Analyst, answers: dict[str, list[dict[str, str]]]) -> EvidenceFeed:
    source = Prometheus(answers)
    return EvidenceFeed(lambda: analyst, instant=source.instant, bus=EventBus(), now=lambda: T0)


async def test_the_call_graph_is_read_from_traces_and_from_istio() -> None:
    analyst = Analyst()
    traces, istio = CALLS
    answers = {
        traces: [
            {"client": "Web", "server": "cart", "connection_type": ""},
            {"client": "cart", "server": "cart-db", "connection_type": "database"},
            {"client": "user", "server": "Web"},
        ],
        istio: [{"source_workload": "unknown", "destination_workload": "cart"}],
    }
    await feed(analyst, answers).read_graph()
    graph = analyst.reader.topology
    assert graph.callees["web"] == {"cart": 1, "cart-db": 2}
    assert (graph.kind("cart-db"), graph.described) == ("database", False)
    assert analyst.correlator.bonds.topology is graph
    assert "user" not in graph.places


async def test_edges_of_metrics_leave_what_the_operator_wrote() -> None:
    graph = Topology.of({"services": [{"name": "web", "kind": "gateway", "tier": 1, "depends_on": ["cart"]}]})
    await feed(Analyst(graph), {CALLS[0]: [{"client": "WEB", "server": "search"}]}).read_graph()
    assert graph.callees["web"] == {"cart": 1, "search": 1}
    assert (graph.kind("web"), graph.tier("web")) == ("gateway", 1)


async def test_rollouts_are_read_from_kube_state_metrics_once() -> None:
    analyst = Analyst()
    one = feed(analyst, {GENERATIONS: [{"deployment": "cart", "namespace": "shop", "instance": "ksm:8080"}]})
    await one.read_changes()
    await one.read_changes()
    change = analyst.evidence.change_before("cart", T0)
    assert change is not None
    assert (change.kind, change.text) == ("rollout", "its deployment was changed")
    assert len(analyst.evidence._facts["cart"].changes) == 1


def test_anomalies_of_the_metrics_loop_are_taken_by_entity() -> None:
    analyst = Analyst()
    facts = {
        "query": "cpu",
        "labels": {"pod": "cart-5d9f7c6b8-x2x4z"},
        "timestamp_ms": T0 * 1000,
        "score": 2.0,
    }
    feed(analyst, {}).take_anomaly(facts)
    assert analyst.evidence.anomaly_near("cart", T0) == Anomaly(T0, 2.0, "cpu")


@pytest.mark.parametrize(
    ("body", "token", "status"),
    [
        ({"services": ["Cart"], "kind": "deploy", "text": "v2"}, "t", 200),
        ([{"services": ["cart", "web"], "at": "2026-01-01T00:00:00Z"}], "t", 200),
        ({"services": ["cart"]}, "wrong", 401),
        ({"services": "cart"}, "t", 400),
        ([{"services": ["cart"], "at": "yesterday"}], "t", 400),
        ([{"services": ["cart"], "at": "2999-01-01T00:00:00Z"}], "t", 400),
        ('{"odd": ' + "[" * 20_000 + "]" * 20_000 + "}", "t", 400),
        (b'{"text": "\xff"}', "t", 400),
        ({"services": []}, "t", 400),
    ],
)
async def test_changes_are_posted(body: Any, token: str, status: int) -> None:
    analyst = Analyst()
    app = web.Application()
    auth = WebhookAuth(bearer_token=SecretStr("t"))
    notes = Notes()
    ChangesEndpoint(lambda: analyst, auth, notes, lambda: T0).add_routes(app.router)
    async with TestClient(TestServer(app)) as client:
        headers = {"Authorization": f"Bearer {token}"}
        answer = await client.post(
            CHANGES_PATH, data=body if isinstance(body, str | bytes) else json.dumps(body), headers=headers
        )
        assert answer.status == status
    restarted = Analyst()
    one = EvidenceFeed(
        lambda: restarted, instant=Prometheus({}).instant, notes=notes, bus=EventBus(), now=lambda: T0
    )
    await one.recall()
    for known in (analyst, restarted):
        assert (known.evidence.change_before("cart", T0) is not None) == (status == 200)


@pytest.mark.parametrize(
    ("packed", "status"),
    [
        pytest.param(gzip.compress(b'{"services": ["cart"]}'), 200, id="packed"),
        pytest.param(gzip.compress(b" " * 2_000_000), 413, id="a bomb"),
        pytest.param(b"no gzip", 400, id="no gzip"),
    ],
)
async def test_packed_changes_are_unpacked_within_a_bound(packed: bytes, status: int) -> None:
    app = web.Application()
    ChangesEndpoint(Analyst, WebhookAuth(), Notes(), lambda: T0).add_routes(app.router)
    server = TestServer(app)
    await server.start_server(auto_decompress=False)  # As pronoia serves.
    async with TestClient(server) as client:
        headers = {"Content-Encoding": "gzip"}
        assert (await client.post(CHANGES_PATH, data=packed, headers=headers)).status == status


async def test_changes_are_sent_again_where_our_own_credentials_cannot_be_read(tmp_path: Path) -> None:
    app = web.Application()
    auth = WebhookAuth(bearer_token_file=tmp_path / "token")
    ChangesEndpoint(Analyst, auth, Notes(), lambda: T0).add_routes(app.router)
    async with TestClient(TestServer(app)) as client:
        assert (await client.post(CHANGES_PATH, data=b"{}")).status == 503


def said(verdict: str, rule: str, other: str = "", *, actor: str = "ann") -> Feedback:
    # What surprises most: noise that was believed to be real, and the other way round.
    believed = 1.0 if verdict == "useful" else 0.0
    return Feedback("inc-1", "default", 0, verdict, actor, rule, other, believed)


def test_what_people_say_moves_the_probability_of_noise_both_ways_and_not_without_bound() -> None:
    def doubt(*feedback: Feedback) -> tuple[float, str]:
        analyst = Analyst()
        analyst.correlator.bonds.verdicts.heed(feedback)
        (group,) = heard(analyst, FAR[0])
        (found,) = analyst.consider(group, now=T0 + 60.0, usual={}).doubts.values()
        return found.probability, found.reasons[-1]

    (plain, _), (noise, words), (useful, _) = (
        doubt(),
        doubt(*(said("noise", "SlowCheckout", actor=name) for name in "abc")),
        doubt(said("useful", "SlowCheckout")),
    )
    assert useful < plain < 0.5 < noise
    assert words == "people called it noise 3 times, useful 0"
    (most, _) = doubt(*(said("noise", "SlowCheckout", actor=str(n)) for n in range(10_000)))
    assert most < 0.95
    assert (
        doubt(*(said("noise", "SlowCheckout") for _ in range(9)))[0]
        == doubt(said("noise", "SlowCheckout"))[0]
    )
    expected = [Feedback("i", "default", 0, "useful", "ann", "SlowCheckout", "", 0.0)] * 9
    assert doubt(*expected)[0] == plain, "what was believed anyway teaches nothing"
    assert plain < doubt(said("noise", "Other"))[0] < plain + 0.02


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        pytest.param("noise", "people called more alerts noise here than was believed", id="noise"),
        pytest.param("useful", "people called fewer alerts noise here than was believed", id="useful"),
    ],
)
def test_what_people_say_of_many_rules_moves_all_of_their_tenant_and_not_far(
    verdict: str, words: str
) -> None:
    def odds(n_rules: int, tenant: str = "default") -> float:
        verdicts.heed(
            Feedback(f"i{n}", "default", n, verdict, "ann", f"R{n}", "", 0.0 if verdict == "noise" else 1.0)
            for n in range(n_rules)
        )
        return abs(verdicts.odds(tenant, "Other"))

    verdicts = Analyst().correlator.bonds.verdicts
    assert 0.0 < odds(2) < odds(10) < odds(1000) == MOST_OF_ALL
    assert verdicts.words("default", "Other") == words
    assert odds(1000, "elsewhere") == 0.0


@pytest.mark.parametrize(
    ("verdicts", "score"),
    [
        pytest.param([], math.nan, id="nobody said anything"),
        pytest.param([("noise", 1.0), ("useful", 0.0)], 0.0, id="always right"),
        pytest.param([("noise", 0.5), ("useful", 0.5)], 0.25, id="never sure"),
        pytest.param([("noise", 0.0), ("useful", 0.0)], 0.5, id="half wrong"),
        pytest.param([("wrong_merge", 0.9)], math.nan, id="says nothing of noise"),
    ],
)
def test_how_well_told_probabilities_fit_what_people_said(
    verdicts: list[tuple[str, float]], score: float
) -> None:
    feedback = [
        Feedback(f"i{n}", "default", n, verdict, "ann", "R", "", believed)
        for n, (verdict, believed) in enumerate(verdicts)
    ]
    analyst = Analyst()
    analyst.correlator.bonds.verdicts.heed(feedback)
    assert analyst.correlator.bonds.verdicts.brier == pytest.approx(score, nan_ok=True)


def test_wrong_merges_keep_two_rules_apart() -> None:
    together = (episode("A", 0.0, service="x"), episode("B", 1.0, service="y"))
    assert len(heard(Analyst(), *together)) == 1
    analyst = Analyst()
    analyst.correlator.bonds.verdicts.heed([said("wrong_merge", "B", "A"), said("wrong_merge", "A", "B")])
    assert len(heard(analyst, *together)) == 2


def test_duplicates_draw_two_rules_together() -> None:
    apart = (episode("A", 0.0, service="x"), episode("B", 100.0, service="y"))
    assert len(heard(Analyst(), *apart)) == 2
    analyst = Analyst()
    analyst.correlator.bonds.verdicts.heed([said("duplicate", "B", "A")] * 4)
    assert len(heard(analyst, *apart)) == 1


async def test_verdicts_are_read_from_the_store() -> None:
    analyst = Analyst()

    async def feedback() -> list[Feedback]:
        return [said("noise", "A")]

    one = EvidenceFeed(
        lambda: analyst, instant=Prometheus({}).instant, feedback=feedback, bus=EventBus(), now=lambda: T0
    )
    await one.read_verdicts()
    assert analyst.correlator.bonds.verdicts.odds("default", "A") > 0.4


async def test_an_odd_anomaly_does_not_end_the_listening() -> None:
    analyst, bus = Analyst(), EventBus()
    one = EvidenceFeed(lambda: analyst, instant=Prometheus({}).instant, bus=bus, now=lambda: T0)
    recorder = SignalRecorder(changes=lambda: [], etas=lambda: [])
    listening = asyncio.create_task(recorder.listen(bus))
    one.start()
    await asyncio.sleep(0)
    good = {"query": "cpu", "labels": {"service": "cart"}, "timestamp_ms": T0 * 1000, "score": 2.0}
    for facts in ({}, {**good, "labels": None}, good):
        bus.publish(Event("anomaly.started", T0, facts))
    async with asyncio.timeout(10):
        while analyst.evidence.anomaly_near("cart", T0) is None or not recorder._waiting:
            await asyncio.sleep(0.005)
    await one.stop()
    listening.cancel()
