"""What keeps failing is tried ever more rarely."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest
from prometheus_client import CollectorRegistry

from rules.loop import Outcome
from sidecar.config.model import StoreConfig
from tests.unit.rules.loop_bench import Bench, Dying


async def test_what_keeps_failing_is_tried_ever_more_rarely_and_told_of_once_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each try has Prometheus read all of its files twice; a weekend has 2,880 minutes."""
    store = await Dying.open(StoreConfig(directory=tmp_path / "data"), registry=CollectorRegistry())
    assert isinstance(store, Dying)
    bench = Bench(tmp_path / "rules", store)
    seconds = 0.0
    tries: list[float] = []
    run_once = bench.loop.run_once

    def monotonic() -> float:
        return seconds

    async def sleep(pause: float) -> None:
        nonlocal seconds
        seconds += pause
        if seconds > 109 * 60:
            raise asyncio.CancelledError

    async def counted() -> list[Outcome]:
        tries.append(seconds)
        if len(tries) == 7:
            bench.server.refuse_reload = None
        if len(tries) == 8:
            bench.level, bench.server.refuse_reload = 30.0, "a neighbour's file is broken"
        return await run_once()

    monkeypatch.setattr("rules.loop.time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr(
        "rules.loop.asyncio", SimpleNamespace(sleep=sleep, gather=asyncio.gather, Semaphore=asyncio.Semaphore)
    )
    monkeypatch.setattr(bench.loop, "run_once", counted)
    monkeypatch.setattr(bench.loop.watch, "look", AsyncMock())
    bench.server.refuse_reload = "a neighbour's file is broken"
    with pytest.raises(asyncio.CancelledError):
        await bench.loop._run()
    await store.close()
    waits = [round((after - before) / 60) for before, after in pairwise(tries)]
    assert waits == [1, 2, 4, 8, 15, 15, 60, 1, 2]
    assert capsys.readouterr().out.count("rule not published") == 4
