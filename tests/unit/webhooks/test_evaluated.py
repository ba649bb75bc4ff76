"""Prometheus' own series of its alerts against our beliefs: what fires on, what has ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from sidecar.errors import PullError, PullReason
from sidecar.records import AlertEvent, Delivery, Episode
from sidecar.series import LabelSet, SeriesBatch
from tests.unit.webhooks.deliveries import EPOCH, SECOND
from webhooks.intake.fold import Memory
from webhooks.reconcile import alerts_series
from webhooks.reconcile.alerts_series import SAMPLED, SINCE, AlertsSeries, ProvenEnds
from webhooks.reconcile.differences import ended
from webhooks.reconcile.evaluated import Evaluated, Fires, firing_again, judge
from webhooks.reconcile.loop import ReconcileMetrics, Reconciler

NOW = EPOCH + 3600 * SECOND
EXTERNAL = {"cluster": "eu"}
SERIES = LabelSet({"alertname": "Down", "service": "shop"})


def episode(state: str = "firing", *, ends: int | None = None, **labels: str) -> Episode:
    delivered = {"alertname": "Down", "service": "shop", "cluster": "eu", **labels}
    return Episode("default", "f1", EPOCH, ends, delivered, {}, "", EPOCH, EPOCH + 60 * SECOND, state=state)


def fires(*, since: int = EPOCH - 60 * SECOND, sampled: int = NOW) -> Evaluated:
    return Evaluated({SERIES: Fires(since, sampled)}, frozenset(), EXTERNAL)


NOTHING = Evaluated(external=EXTERNAL)
ENDED = EPOCH + 600 * SECOND


@pytest.mark.parametrize(
    ("evaluated", "known", "expected"),
    [
        pytest.param(fires(), episode(), {"still_firing"}, id="both say that it fires"),
        pytest.param(fires(), episode("unknown"), {"still_firing", "settled"}, id="not repeated, and fires"),
        pytest.param(
            fires(),
            episode("resolved", ends=ENDED),
            {"still_firing", "refused"},
            id="fired on beyond its end",
        ),
        pytest.param(
            fires(since=ENDED + SECOND), episode("resolved", ends=ENDED), set(), id="fires anew since then"
        ),
        pytest.param(
            fires(sampled=ENDED), episode("resolved", ends=ENDED), set(), id="not evaluated since its end"
        ),
        pytest.param(NOTHING, episode("resolved", ends=ENDED), set(), id="over, and all agree"),
        pytest.param(NOTHING, episode(), {"gone"}, id="no series any more"),
        pytest.param(
            Evaluated({}, frozenset({SERIES}), EXTERNAL), episode(), set(), id="pending after a restart"
        ),
        pytest.param(NOTHING, episode(cluster="us"), set(), id="of another Prometheus"),
        pytest.param(NOTHING, episode(source="pronoia"), set(), id="an alert of our own"),
    ],
)
def test_judge(evaluated: Evaluated, known: Episode, expected: set[str]) -> None:
    verdict = judge(evaluated, [known], now_ns=NOW)
    names = ("still_firing", "settled", "refused", "gone")
    assert {name for name in names if getattr(verdict, name)} == expected


def told(memory: Memory, event: AlertEvent, authority: str) -> Episode:
    delivery = Delivery("default", "r", "", "", NOW, b"", 0, [event], [], authority)
    memory.apply(memory.fold([delivery]))
    return memory.episodes["default", "f1"]


def test_a_false_end_is_taken_back_and_the_next_true_one_counts() -> None:
    memory = Memory([episode("resolved", ends=ENDED)])
    (again,) = judge(fires(), memory.episodes.values(), now_ns=NOW).refused
    assert told(memory, again, "told").state == "resolved", "a late delivery proves nothing"
    assert (told(memory, again, "proven").state, memory.n_open) == ("firing", 1)
    assert memory.episodes["default", "f1"].ends_at_ns is None
    assert told(memory, ended(episode(), NOW), "told").ends_at_ns == NOW


def test_a_sender_is_believed_over_a_conclusion() -> None:
    memory = Memory([episode()])
    assert told(memory, ended(episode(), ENDED), "inferred").ends_at_ns == ENDED
    assert told(memory, firing_again(episode()), "inferred").state == "resolved", "we are not our own witness"
    assert (told(memory, firing_again(episode()), "told").state, memory.n_open) == ("firing", 1)
    told(memory, ended(episode(), ENDED), "inferred")
    assert told(memory, ended(episode(), ENDED + SECOND), "told").ends_at_ns == ENDED + SECOND
    assert told(memory, firing_again(episode()), "told").state == "resolved", "its end was told, this is late"
    assert memory.inferred == {}


class Source:
    """A Prometheus that answers each query with what it is given, labels and value."""

    def __init__(self, **answers: list[tuple[dict[str, str], float]]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.warnings: tuple[str, ...] = ()

    async def instant(self, expr: str, *, at_ms: int, **_: Any) -> SeriesBatch:
        self.asked.append(expr)
        kind = {SAMPLED: "sampled", SINCE: "since"}.get(expr, "history")
        if kind not in self.answers:
            raise PullError(PullReason.UNREACHABLE, "refused")
        rows = self.answers[kind]
        labels = tuple(LabelSet(found) for found, _ in rows)
        values = np.array([[value] for _, value in rows]).reshape(len(rows), 1)
        return SeriesBatch("x", labels, np.array([at_ms], dtype=np.int64), values, self.warnings)

    async def external_labels(self) -> Mapping[str, str]:
        return EXTERNAL


FIRING = {"alertname": "Down", "service": "shop", "alertstate": "firing"}
PENDING = {"alertname": "Slow", "cluster": "eu", "alertstate": "pending"}


async def test_series_are_read_under_the_labels_that_the_server_itself_uses() -> None:
    source = Source(sampled=[(FIRING, 100.5), (PENDING, 100.5)], since=[(dict(SERIES.pairs), 40.0)])
    found = await AlertsSeries(source, now=lambda: 101.0).look()
    assert found.firing == {SERIES: Fires(40 * SECOND, 100 * SECOND + SECOND // 2)}
    assert found.pending == {LabelSet({"alertname": "Slow"})}


async def test_series_are_gone_through_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm's fifty thousand would hold every request for a second, at each look."""
    here: list[bool] = []
    values = alerts_series._values

    def noted(batch: SeriesBatch, external: Mapping[str, str]) -> list[tuple[LabelSet, float]]:
        here.append(threading.current_thread() is threading.main_thread())
        return list(values(batch, external))

    monkeypatch.setattr(alerts_series, "_values", noted)
    source = Source(sampled=[(FIRING, 100.5)], since=[(dict(SERIES.pairs), 40.0)], history=[(FIRING, 9.0)])
    series = AlertsSeries(source, now=lambda: 101.0)
    assert list((await series.look()).firing) == [SERIES]
    assert await series.last_fired({SERIES}, EXTERNAL) == {SERIES: 9 * SECOND}
    assert here == [False] * 3


@pytest.mark.parametrize(
    ("history", "ends_at_ns"),
    [
        pytest.param([(FIRING, 1_767_225_700.0)], EPOCH + 100 * SECOND, id="fired here once"),
        pytest.param([(FIRING, 0.0)], EPOCH + 60 * SECOND, id="for less than a minute: when last heard of"),
        pytest.param([], None, id="never fired here"),
    ],
)
async def test_an_end_is_proven_by_two_looks_and_a_history(
    history: list[tuple[dict[str, str], float]], ends_at_ns: int | None
) -> None:
    source = Source(history=history)
    ends = ProvenEnds(AlertsSeries(source, now=lambda: 0.0))
    gone = judge(NOTHING, [episode()], now_ns=NOW).gone
    assert await ends.among(gone, NOTHING) == []
    assert source.asked == []
    found = await ends.among(gone, NOTHING)
    assert [event.ends_at_ns for event in found] == ([] if ends_at_ns is None else [ends_at_ns])
    await ends.among(gone, NOTHING)
    assert len(source.asked) == 1, "who is not from here is not asked for again"


async def test_what_was_seen_firing_needs_no_history() -> None:
    source = Source()
    ends = ProvenEnds(AlertsSeries(source, now=lambda: 0.0))
    gone = judge(NOTHING, [episode()], now_ns=NOW).gone
    await ends.among({}, fires(sampled=EPOCH + 90 * SECOND))
    assert await ends.among(gone, NOTHING) == []
    (end,) = await ends.among(gone, NOTHING)
    assert (end.ends_at_ns, source.asked) == (EPOCH + 90 * SECOND, [])


class OneAlertmanager:
    """An Alertmanager that has been up for long and holds these alerts."""

    def __init__(self, *alerts: dict[str, Any]) -> None:
        self._alerts = list(alerts)

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def status(self) -> dict[str, Any]:
        return {"uptime": "2025-01-01T00:00:00Z"}

    async def alerts(self) -> list[dict[str, Any]]:
        return self._alerts


def reconciler(
    source: Source | None, known: Episode, told: list[Delivery], *clients: OneAlertmanager, cut_at_ns: int = 0
) -> Reconciler:
    async def accept(delivery: Delivery) -> None:
        told.append(delivery)

    async def senders() -> tuple[dict[str, set[str]], set[str]]:
        return {"default": {"pronoia"}, "blue": {"to-blue"}}, {"http://am"}

    return Reconciler(
        clients,
        series=AlertsSeries(source, now=lambda: NOW / 1e9) if source else None,
        known=lambda: {"default": {known.fingerprint: known}},
        accept=accept,
        senders=senders,
        cut_at_ns=lambda tenant: cut_at_ns if tenant == "default" else 0,
        metrics=ReconcileMetrics(CollectorRegistry()),
        now=lambda: NOW / 1e9,
    )


async def test_absence_from_alertmanager_is_no_end_while_prometheus_fires_it() -> None:
    told: list[Delivery] = []
    since = [(dict(SERIES.pairs), EPOCH / 1e9)]
    firing = Source(sampled=[(FIRING, NOW / 1e9)], since=since)
    look = reconciler(firing, episode(), told, OneAlertmanager()).look
    assert not (await look())["default"].ended
    assert not (await look())["default"].ended
    look = reconciler(None, episode(), told, OneAlertmanager()).look
    await look()
    assert [event.fingerprint for event in (await look())["default"].ended] == ["f1"]
    assert len(told) == 1


async def test_without_an_alertmanager_prometheus_alone_proves_ends() -> None:
    told: list[Delivery] = []
    source = Source(sampled=[], since=[], history=[(FIRING, EPOCH / 1e9 + 70)])
    one = reconciler(source, episode(), told)
    await one.look()
    assert [event.ends_at_ns for event in (await one.look())["default"].ended] == [EPOCH + 70 * SECOND]
    with pytest.raises(PullError):
        await reconciler(Source(), episode(), told).look()


async def test_an_answer_of_which_a_part_is_missing_proves_nothing() -> None:
    source = Source(sampled=[], since=[], history=[(FIRING, EPOCH / 1e9 + 70)])
    source.warnings = ("store eu-1 is unavailable",)
    one = reconciler(source, episode(), [])
    for _ in range(2):
        with pytest.raises(PullError, match="eu-1"):
            await one.look()


async def test_what_was_cut_off_is_learned_at_once() -> None:
    new = {
        "labels": {"alertname": "Cut"},
        "startsAt": "2026-01-01T00:59:50Z",
        "fingerprint": "f2",
        "receivers": [{"name": "pronoia"}],
        "status": {"state": "active"},
    }
    told: list[Delivery] = []
    assert not (await reconciler(None, episode(), told, OneAlertmanager(new)).look())["default"].learned
    cut = reconciler(None, episode(), told, OneAlertmanager(new), cut_at_ns=NOW - SECOND)
    assert [event.fingerprint for event in (await cut.look())["default"].learned] == ["f2"]


async def test_a_wish_for_a_look_does_not_wait_for_the_schedule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.reconcile.loop.PAUSE_SECONDS", 0.01)
    wake, n_looks = asyncio.Event(), 0

    def known() -> dict[str, dict[str, Episode]]:
        nonlocal n_looks
        n_looks += 1
        return {}

    one = reconciler(None, episode(), [], OneAlertmanager())
    one._wake, one._known = wake, known
    one.start()
    async with asyncio.timeout(5):
        for wished in range(1, 4):
            while n_looks < wished:
                await asyncio.sleep(0.002)
            wake.set()
    await one.stop()


async def test_an_alert_belongs_to_the_tenant_whose_receiver_it_is_for() -> None:
    def held(fingerprint: str, receiver: str) -> dict[str, Any]:
        labels, receivers = {"alertname": "New"}, [{"name": receiver}]
        facts = {"labels": labels, "startsAt": "2026-01-01T00:00:00Z", "status": {"state": "active"}}
        return {**facts, "fingerprint": fingerprint, "receivers": receivers}

    told: list[Delivery] = []
    alerts = (held("f1", "pronoia"), held("f2", "to-blue"), held("f3", "people"))
    found = await reconciler(None, episode(), told, OneAlertmanager(*alerts)).look()
    assert {tenant: [one.fingerprint for one in what.learned] for tenant, what in found.items()} == {
        "default": [],
        "blue": ["f2"],
    }
    assert [delivery.tenant for delivery in told] == ["blue"]
