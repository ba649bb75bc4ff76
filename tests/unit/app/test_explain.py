"""An explanation is asked for at any time, amid a reload as well."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry

from sidecar.app.explain import Explaining
from sidecar.loop.journal import Journal
from sidecar.offload import Offload
from tests.unit.loop.test_journal import Told, fingerprint


async def test_while_it_is_not_known_what_is_watched_nothing_is_asked_of_the_source(tmp_path: Path) -> None:
    journal, offload = Journal(tmp_path), Offload(1)
    Told(journal).step(3)
    explaining = Explaining(
        journal,
        cast(Any, SimpleNamespace(registry=CollectorRegistry(), offload=offload)),
        config=lambda: cast(Any, SimpleNamespace(runbooks=())),
        watches=lambda: [],
        client=lambda: cast(Any, None),
        said=lambda *_: "",
    )
    found = await explaining.one("load", fingerprint(0), contributions=True)
    offload.close()
    assert found["query"] == "load"
    assert "contributions" not in found
