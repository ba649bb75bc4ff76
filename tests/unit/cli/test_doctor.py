"""`pronoia doctor` looks into the database for what never arrived."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from sidecar.cli.doctor import _lacks_heartbeat
from sidecar.config.model import Config, StoreConfig
from sidecar.store.sqlite import SqliteStore
from tests.unit.webhooks.deliveries import alert, delivery
from webhooks.intake.fold import Memory


@pytest.mark.parametrize(
    ("names", "lacks"), [([], False), (["Down"], True), (["Down", "Watchdog"], False)], ids=json.dumps
)
def test_a_heartbeat_that_never_came_is_missed(tmp_path: Path, names: list[str], lacks: bool) -> None:
    config = StoreConfig(directory=tmp_path)

    async def fill() -> None:
        store = await SqliteStore.open(config, registry=CollectorRegistry())
        one = delivery(*map(alert, names))
        if names:
            await store.commit_deliveries([one], Memory().fold([one]).durable())
        await store.close()

    assert not _lacks_heartbeat(Config(store=config)), "without a database nothing is known"
    asyncio.run(fill())
    assert _lacks_heartbeat(Config(store=config)) == lacks
