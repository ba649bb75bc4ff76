"""`pronoia doctor` looks into the database for what never arrived, and soon tells of who never answers."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import numpy as np
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from sidecar.cli import reach
from sidecar.cli.doctor import _ask_prometheus, _lacks_heartbeat
from sidecar.cli.doctor_data import held_back_seconds
from sidecar.cli.main import main
from sidecar.config.model import Config, QueryConfig, SourceConfig, StoreConfig
from sidecar.errors import PullError, PullReason
from sidecar.loop.clock import SourceClock
from sidecar.series import LabelSet, SeriesBatch
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


async def test_a_server_that_takes_connections_and_never_answers_is_found_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reach, "PATIENCE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = Config(prometheus=SourceConfig(url=f"http://127.0.0.1:{silent.getsockname()[1]}"))
        async with asyncio.timeout(5):
            found = [one async for one in _ask_prometheus(config)]
    assert ["no answer within 0.1 s" in one.what for one in found] == [True]


@pytest.mark.parametrize(
    ("told", "held_back"), [([[970.5]], 30.0), ([[1000.5]], 0.0), (np.empty((0, 1)), 0.0)]
)
async def test_how_long_a_server_holds_back_what_is_new(told: Any, held_back: float) -> None:
    class Server:
        async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
            values = np.array(told)
            assert (expr, at_ms) == ("time()", 1_000_500)
            return SeriesBatch(name, (LabelSet(),) * len(values), np.array([at_ms]), values)

    assert await held_back_seconds(Server(), 1000.5) == held_back


async def test_a_clock_that_is_off_is_told_and_not_taken_for_series_that_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    off, seen = SourceClock(lambda: 5000.0), []
    off.observe(1400.0)

    class Server:
        settings_told = AsyncMock(side_effect=PullError(PullReason.BAD_QUERY, "not told"))

        async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
            seen.append(at_ms)
            return SeriesBatch(name, (LabelSet(),), np.array([at_ms]), np.array([[at_ms / 1000]]))

        async def range(self, expr: str, *, end_ms: int, name: str, **_: Any) -> SeriesBatch:
            seen.append(end_ms)
            return SeriesBatch(name, (), np.array([end_ms]), np.empty((0, 1)))

    @asynccontextmanager
    async def reached(_: SourceConfig, **__: Any) -> AsyncIterator[Server]:
        yield Server()

    monkeypatch.setattr(sys.modules["sidecar.cli.doctor"], "within_reach", reached)
    monkeypatch.setattr("sidecar.loop.clock.SourceClock", lambda: off)
    config = Config(queries=(QueryConfig(name="up", expr="up"),))
    found = [one async for one in _ask_prometheus(config)]
    assert [one.what for one in found] == ["its clock is 1h behind this machine's", "there are no series"]
    assert seen == [1_400_000] * 3


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """The configurations with which the command looked around; it found one fault of three queries."""
    seen: list[Config] = []

    async def look(config: Config) -> list[dict[str, str]]:
        seen.append(config)
        fault = {"level": "warning", "what": "series come and go", "remedy": "aggregate"}
        return [
            *({**fault, "where": f"query {name}"} for name in ("a", "b", "c")),
            {**fault, "where": "alerts", "what": "none"},
        ]

    monkeypatch.setattr("sidecar.cli.doctor._look", look)
    return seen


def test_a_folder_of_rules_that_run_is_given_may_be_given_here(looked_at: list[Config]) -> None:
    CliRunner().invoke(main, ["doctor", "--rules-dir", "/etc/prometheus/rules"])
    assert [config.rules.directory for config in looked_at] == [Path("/etc/prometheus/rules")]


@pytest.mark.usefixtures("looked_at")
def test_one_fault_of_many_queries_is_told_once_and_listed_for_programs() -> None:
    told = CliRunner().invoke(main, ["doctor"]).stdout.splitlines()[::2]
    assert told == ["warning  queries a, b, c: series come and go", "warning  alerts: none"]
    assert len(json.loads(CliRunner().invoke(main, ["doctor", "--format", "json"]).stdout)) == 4
