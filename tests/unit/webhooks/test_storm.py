"""Far more alerts than usual become one incident, intake stays fast, and what is held is bounded."""

from __future__ import annotations

import gc
import time
import tracemalloc
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.config.webhook import StormConfig, WebhookConfig
from sidecar.events import EventBus
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.deliveries import EPOCH, T1, alert, delivery
from webhooks.intake.fold import Memory
from webhooks.judge.analyst import Analyst
from webhooks.own import own_event
from webhooks.pipeline import AlertsLoop
from webhooks.quieten.rate import RateWatch
from webhooks.quieten.storms import Storms


def test_usual_rates_are_learned_and_only_far_more_is_a_storm() -> None:
    watch = RateWatch(at_least=50, factor=5.0)
    for minute in range(600):
        watch.count(40, 60.0 * minute)
        watch.count(0, 60.0 * minute + 59)
        assert not watch.storming
    assert 20 <= watch.high <= 60
    watch.count(150, 36_000.0)
    assert not watch.storming, "four times the usual"
    watch.count(300, 36_010.0)
    assert watch.storming


def test_a_storm_ends_on_decay_and_is_not_learned() -> None:
    watch = RateWatch(at_least=100, factor=5.0)
    at = 0.0
    for _ in range(100):
        at += 10.0
        watch.count(50, at)
    assert watch.storming
    learned = watch.high
    watch.count(0, at + 61)
    assert watch.storming, "quiet for a moment"
    watch.count(0, at + 100)
    assert watch.storming
    watch.count(0, at + 190)
    assert not watch.storming
    assert watch.high == learned


def test_a_clock_that_is_set_back_by_an_hour_makes_no_storm_of_that_hour() -> None:
    watch = RateWatch(at_least=100, factor=5.0)
    for at in range(0, 3600, 10):
        watch.count(2, 10_000.0 + at)
    for at in range(0, 3600, 10):
        watch.count(2, 10_000.0 + at)
        assert watch.rate <= 24
    assert not watch.storming


def test_it_can_be_switched_off() -> None:
    watch = RateWatch(at_least=0, factor=5.0)
    watch.count(1_000_000, 1.0)
    assert not watch.storming


def test_what_a_storm_holds_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless storm: every alert is another one, none ends."""
    monkeypatch.setattr("webhooks.intake.fold.MAX_EPISODES", 500)
    monkeypatch.setattr("webhooks.quieten.storm.MAX_FIRING", 500)
    memory = Memory()
    storms, analyst = Storms(memory, at_least=100, factor=5.0), Analyst()
    before = delivery(alert("Old", service="old"), at_seconds=-100)
    memory.apply(memory.fold([before]))
    n_rest = 0
    for batch in range(100):
        one = delivery(
            *(alert(f"Rule{i % 90}", service=f"s{i % 7}", instance=f"i-{batch}-{i}") for i in range(100)),
            at_seconds=batch,
        )
        changes = memory.fold([one])
        memory.apply(changes)
        taken = storms.take([memory.episodes[key] for key in changes.written], analyst, EPOCH / 1e9 + batch)
        n_rest += len(taken.rest)
    (storm,) = storms.known.values()
    assert n_rest == 100, "only what came before it began is correlated one by one"
    assert storm.n_episodes == 9_900
    assert len(memory.episodes) == 500
    assert ("default", before.alerts[0].fingerprint) in memory.episodes, "the storm's own leave first"
    assert len(storm.group.members) <= 100
    assert len(storm.firing) == 500
    assert all(len(counter) <= 1000 for counter in storm.counts.values())
    incident = storm.incident(analyst, now_ns=EPOCH)
    assert incident.title.startswith("storm of 9900 alerts: Rule")
    assert incident.storm["counts"]["service"].keys() <= {f"s{i}" for i in range(7)}  # type: ignore[index]
    n_counted = sum(storm.counts["service"].values())
    assert abs(n_counted - storm.n_episodes) < 16, "a sample, weighed"
    assert len(incident.storm["first_movers"]) == 20  # type: ignore[arg-type]
    assert len(incident.storm["representatives"]) == 60  # type: ignore[arg-type]


def test_what_a_storm_is_mostly_of_is_told_whatever_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alertmanager sends each group's alerts in the same order: of two rules, each second one is the same."""
    monkeypatch.setattr("webhooks.quieten.storm.EXACT", 32)
    storms, analyst = Storms(Memory(), at_least=10, factor=5.0), Analyst()
    pairs = (alert(rule, pod=str(i)) for i in range(1600) for rule in ("Slow", "Errors"))
    storms.take(Memory().fold([delivery(*pairs)]).durable(), analyst, EPOCH / 1e9)
    (storm,) = storms.known.values()
    counts = storm.incident(analyst, now_ns=EPOCH).storm["counts"]["alertname"]  # type: ignore[index]
    assert counts["Slow"] + counts["Errors"] == pytest.approx(3200, abs=16)
    assert counts["Slow"] == pytest.approx(1600, abs=200)


def test_our_own_alerts_stay_apart_from_a_storm() -> None:
    memory = Memory()
    storms, analyst = Storms(memory, at_least=10, factor=5.0), Analyst()
    many = delivery(*(alert("X", i=str(i)) for i in range(20)))
    memory.apply(memory.fold([many]))
    storms.take(list(memory.episodes.values()), analyst, 0.0)
    own = own_event("AlertsNotArriving", {"component": "alerting"}, {}, starts_at_ns=EPOCH)
    from webhooks.own import inner_delivery

    changes = memory.fold([inner_delivery([own], receiver="x", received_at_ns=EPOCH)])
    memory.apply(changes)
    (episode,) = (memory.episodes[key] for key in changes.written)
    assert storms.take([episode], analyst, 1.0).rest == [episode]


async def test_a_storm_is_one_stored_incident_that_survives_a_restart_and_ends(tmp_path: Path) -> None:
    config = WebhookConfig(incident_hold=0.0, storm=StormConfig(alerts_per_minute=50))
    before = [alert("First", service="db"), *(alert("Late", service="web", i=str(i)) for i in range(60))]
    within = [alert("More", service="web", i=str(i)) for i in range(40)]

    async def open_loop() -> tuple[SqliteStore, AlertsLoop]:
        registry = CollectorRegistry()
        store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=registry)
        loop = AlertsLoop(store, bus=EventBus(), config=config, registry=registry)
        await loop.open()
        return store, loop

    store, loop = await open_loop()
    now_seconds = time.time() - EPOCH / 1e9
    await loop.intake.accept(delivery(*before, at_seconds=now_seconds))
    await loop.intake.accept(delivery(*within, at_seconds=now_seconds))
    await loop.stop()
    await store.close()
    store, loop = await open_loop()
    (incident,) = await store.incidents()
    assert (incident.n_episodes, incident.n_firing, incident.state) == (101, 101, "open")
    found = await store.incident(incident.incident_id)
    assert found is not None
    assert len(found[1]) == 101
    assert found[1][0].bonds == {"all": 1.0, "storm": 1.0}
    ended = [{**one, "status": "resolved", "endsAt": T1} for one in (*before, *within)]
    await loop.intake.accept(delivery(*ended, at_seconds=now_seconds + 1))
    await loop.stop()
    (incident,) = await store.incidents()
    assert (incident.n_firing, incident.state) == (0, "resolved")
    await store.close()


def test_what_both_of_a_pair_tell_at_once_is_counted_once() -> None:
    memory = Memory()
    storms, analyst = Storms(memory, at_least=10, factor=5.0), Analyst()

    def tell(first: int, last: int) -> None:
        many = [alert("X", i=str(i)) for i in range(first, last)]
        changes = memory.fold([delivery(*many), delivery(*many, at_seconds=1.0)])
        memory.apply(changes)
        storms.take([memory.episodes[key] for key in changes.written], analyst, 0.0)

    for one in (delivery(alert("X", i=str(i))) for i in range(20)):
        changes = memory.fold([one])
        memory.apply(changes)
        storms.take([memory.episodes[key] for key in changes.written], analyst, 0.0)
    (storm,) = storms.known.values()
    before = storm.n_episodes
    tell(20, 50)
    assert storm.n_episodes == before + 30
    tell(20, 50)
    assert storm.n_episodes == before + 30


@pytest.mark.parametrize("ending", [False, True], ids=["none ends", "each ends"])
async def test_memory_does_not_grow_in_an_endless_storm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: bool
) -> None:
    """The whole loop, with a real store, and bounds that are reached within a second."""
    for name, bound in (
        ("webhooks.intake.fold.MAX_EPISODES", 300),
        ("webhooks.quieten.storm.MAX_FIRING", 300),
        ("webhooks.quieten.storm.MAX_VALUES", 100),
        ("webhooks.quieten.flapping.MAX_KNOWN", 300),
    ):
        monkeypatch.setattr(name, bound)
    registry = CollectorRegistry()
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=registry)
    config = WebhookConfig(incident_hold=0.0, storm=StormConfig(alerts_per_minute=50))
    loop = AlertsLoop(store, bus=EventBus(), config=config, registry=registry, now=lambda: EPOCH / 1e9)
    await loop.open()

    async def rage(first: int, last: int) -> int:
        """Bytes held after so many batches of a hundred alerts."""
        for batch in range(first, last):
            fired = [alert("Rule", service=f"s{i % 7}", instance=f"i-{batch}-{i}") for i in range(100)]
            await loop.intake.accept(delivery(*fired))
            if ending:
                over = [{**one, "status": "resolved", "endsAt": T1} for one in fired]
                await loop.intake.accept(delivery(*over))
        await loop._work(final=True)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    await rage(0, 6)
    tracemalloc.start()
    try:
        before = await rage(6, 8)
        after = await rage(8, 28)
    finally:
        tracemalloc.stop()
        await loop.stop()
        await store.close()
    # Two thousand alerts that stayed would be 2 MB and more.
    assert after - before < 300_000


def test_a_storm_goes_on_being_told_of_when_the_clock_is_set_back() -> None:
    memory = Memory()
    storms, analyst = Storms(memory, at_least=10, factor=5.0), Analyst()
    changes = memory.fold([delivery(*(alert("X", i=str(i)) for i in range(20)))])
    memory.apply(changes)
    storms.take(list(memory.episodes.values()), analyst, 10_000.0)
    (storm,) = storms.due(10_000.0, every_seconds=2.0)
    storm.told_at = 10_000.0
    assert storms.due(10_001.0, every_seconds=2.0) == []
    assert storms.due(6_400.0, every_seconds=2.0) == [storm]
