"""What is over leaves memory: responses of the desk, incidents that no Alertmanager is told of."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.config.response import SyntheticConfig
from sidecar.records import Response
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.respond.incidents import Clock, desk_over, incident
from webhooks.respond import desk as desk_module
from webhooks.respond.history import History
from webhooks.respond.synthetic import SyntheticAlerts, SyntheticMetrics


async def test_the_desk_holds_open_incidents_and_some_that_are_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "MAX_HELD", 2)
    store = await SqliteStore.open(StoreConfig(directory=tmp_path), registry=CollectorRegistry())
    desk = desk_over(store)
    names = [f"i{n}" for n in range(6)]
    desk.observe([incident(name) for name in names])
    await desk._ledger._flush()
    assert all(desk.response(name) for name in names), "all of them are open"
    desk.observe([incident(name, state="resolved") for name in names[:-1]])
    await desk._ledger._flush()
    assert [name for name in names if desk.response(name)] == ["i4", "i5"]
    assert (await store.response_store.response("i0")) is not None, "the store has it"
    await store.close()


def test_incidents_are_not_kept_for_alertmanagers_that_are_not_told() -> None:
    alerts = SyntheticAlerts({}, SyntheticConfig(), metrics=SyntheticMetrics(CollectorRegistry()))
    alerts.consider([incident(f"i{n}") for n in range(9)])
    assert not alerts._waiting


def test_what_people_wrote_is_held_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhooks.respond.history.MAX_RESPONSES", 3)
    history = History(cast(Any, None), cast(Any, None), now=Clock())
    for n in range(9):
        history.learn(Response(f"i{n}", "default", n, fix="restarted"))
    assert list(history._responses) == ["i6", "i7", "i8"]
