"""`pronoia alerts flapping` shows what a running pronoia has proposed."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from sidecar.cli.alerts import alerts
from sidecar.config.model import StoreConfig
from sidecar.store.sqlite import SqliteStore
from webhooks.quieten.flap_report import NOTE
from webhooks.quieten.flapping import Proposal

JITTERY = Proposal("default", "Jittery", "keep_firing_for", 120.0, 8, 1, "8 starts; most pauses last 90 s")
OTHER = Proposal("blue", "Short", "for", 60.0, 5, 2, "5 starts")


def stored(directory: Path, *proposals: Proposal) -> None:
    async def put() -> None:
        store = await SqliteStore.open(StoreConfig(directory=directory), registry=CollectorRegistry())
        await store.put_note(NOTE, msgspec.json.encode(proposals))
        await store.close()

    asyncio.run(put())


@pytest.mark.parametrize(
    ("proposals", "code", "words"),
    [
        pytest.param((), 0, ["none flaps"], id="none"),
        pytest.param(
            (JITTERY, OTHER),
            1,
            ["Jittery: keep_firing_for: 120s", "8 starts; most pauses", "Short (blue): for: 60s"],
            id="two",
        ),
    ],
)
def test_each_rule_with_its_change(
    tmp_path: Path, proposals: tuple[Proposal, ...], code: int, words: list[str]
) -> None:
    stored(tmp_path, *proposals)
    result = CliRunner().invoke(alerts, ["flapping", "--data", str(tmp_path)])
    assert result.exit_code == code
    assert [word for word in words if word not in result.output] == []
    result = CliRunner().invoke(alerts, ["flapping", "--data", str(tmp_path), "--format", "json"])
    assert [one["alertname"] for one in json.loads(result.stdout)] == [one.alertname for one in proposals]


def test_without_a_database_it_is_wrong_use(tmp_path: Path) -> None:
    assert CliRunner().invoke(alerts, ["flapping", "--data", str(tmp_path)]).exit_code == 2
