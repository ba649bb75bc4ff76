"""Every hour: what is kept no longer goes, and nothing while it is not known what is watched."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from sidecar.app.ground import Ground
from sidecar.app.process import Sidecar
from sidecar.app.upkeep import Upkeep
from sidecar.config.model import Config
from sidecar.loop.clock import SourceClock

NOW = 1_790_000_000.0


async def test_models_of_no_query_go_once_it_is_known_which_are_watched(tmp_path: Path) -> None:
    async def prune(*, now_ns: int) -> dict[str, int]:
        assert now_ns == int(NOW * 1e9)
        return {"episodes": 2}

    registry = CollectorRegistry()
    ground = SimpleNamespace(registry=registry, store=SimpleNamespace(prune=prune))
    watched: list[str] = []
    upkeep = Upkeep(cast(Ground, ground), models=tmp_path, watched=lambda: watched, now=lambda: NOW)
    (file := tmp_path / "gone.model").write_bytes(b"1")
    os.utime(file, (0, 0))
    await upkeep._prune()
    assert file.exists(), "a source that is away has proposed nothing yet"
    watched.append("load")
    await upkeep._prune()
    assert not file.exists()
    assert registry.get_sample_value("pronoia_store_pruned_rows_total", {"table": "episodes"}) == 4


@pytest.mark.parametrize("source", [NOW, NOW + 400 * 86400])
def test_a_clock_that_is_a_year_ahead_takes_nothing(source: float) -> None:
    """Ours or the source's: what is kept for a year would be gone within the hour."""
    ours = 2 * NOW + 400 * 86400 - source
    sidecar = Sidecar(Config(), load=Config, wall=lambda: ours)
    clock = SourceClock(lambda: ours)
    clock.observe(source)
    sidecar._workings = cast(Any, SimpleNamespace(clock=clock))
    assert sidecar._earlier_now() == NOW
