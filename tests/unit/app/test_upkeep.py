"""Every hour: what is kept no longer goes, and nothing while it is not known what is watched."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry

from sidecar.app.ground import Ground
from sidecar.app.upkeep import Upkeep

NOW = 1_790_000_000.0


async def test_models_of_no_query_go_once_it_is_known_which_are_watched(tmp_path: Path) -> None:
    async def prune(**_: Any) -> dict[str, int]:
        return {"episodes": 2}

    registry = CollectorRegistry()
    ground = SimpleNamespace(registry=registry, wall=lambda: NOW, store=SimpleNamespace(prune=prune))
    watched: list[str] = []
    upkeep = Upkeep(cast(Ground, ground), models=tmp_path, watched=lambda: watched)
    (file := tmp_path / "gone.model").write_bytes(b"1")
    os.utime(file, (0, 0))
    await upkeep._prune()
    assert file.exists(), "a source that is away has proposed nothing yet"
    watched.append("load")
    await upkeep._prune()
    assert not file.exists()
    assert registry.get_sample_value("pronoia_store_pruned_rows_total", {"table": "episodes"}) == 4
