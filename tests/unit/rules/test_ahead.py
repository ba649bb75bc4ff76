"""Warnings ahead as the sidecar makes them: tried on the past of the rules that are loaded."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from rules.read import read_text
from rules.validate import check
from sidecar.app.ahead import AheadFiles
from sidecar.config.model import Config
from sidecar.prometheus.answers import Rule
from sidecar.series import LabelSet, SeriesBatch
from tests.integration.servers import binary

NOW = 1_700_000_000.0


class Disks:
    """A server with a disk that fills each evening and is tidied up, and a rule about it."""

    def __init__(self, full: str = "used_percent > 90") -> None:
        self.full = full

    async def rules(self) -> list[Rule]:
        facts = {"kind": "alerting", "group": "g", "file": "f", "health": "ok", "last_error": "", "state": ""}
        about: dict[str, Any] = {"duration_seconds": 0, "labels": {}, "annotations": {}}
        names = {"DiskFull": self.full, "Gone": "absent(used_percent)"}
        return [Rule(name=name, expr=expr, **facts, **about) for name, expr in names.items()]

    async def history(self, expr: str, *, start_ms: int, end_ms: int, step_ms: int, **_: Any) -> SeriesBatch:
        times = np.arange(start_ms, end_ms + 1, step_ms, dtype=np.int64)
        if "used_percent" not in expr:
            return SeriesBatch("none of it", (), times, np.empty((0, times.size)))
        hours = (times - start_ms) / 3_600_000 % 24
        noise = np.random.default_rng(3).normal(0, 0.1, times.size)
        values = 40 + np.clip(hours - 14, 0, 8) * 7 + noise - (90 if " - " in expr else 0)
        return SeriesBatch("disk", (LabelSet({"path": "/"}),), times, values[None, :])


class Threads:
    """What computes, here at once."""

    async def run(self, work: Any, *arguments: Any) -> Any:
        return await asyncio.to_thread(work, *arguments)


def ahead(full: str = "used_percent > 90", **settings: Any) -> AheadFiles:
    told = {"enabled": True, "history": 2 * 86_400, **settings}
    config = Config.model_validate({"rules": {"ahead": told}})
    return AheadFiles(config, Disks(full), Threads(), now=lambda: NOW)  # type: ignore[arg-type]


async def test_what_came_true_is_rendered_with_its_evidence() -> None:
    files = ahead()
    assert files.files() is None, "not tried yet"
    await files.try_once()
    (file,) = files.files() or ()
    (alert,) = read_text(file.text)
    assert (alert.name, alert.labels["threshold"], alert.for_seconds) == ("DiskFullAhead", "> 90", 600)
    assert "warnings came true" in alert.annotations["description"]
    assert alert.annotations["pronoia_revision"] == file.revision


async def test_a_threshold_that_follows_the_clock_is_warned_of_by_the_distance_from_it() -> None:
    files = ahead("used_percent > on () group_left () (vector(90) and on () (hour() < 8) or vector(90))")
    await files.try_once()
    (file,) = files.files() or ()
    (alert,) = read_text(file.text)
    assert (alert.name, alert.labels["threshold"]) == ("DiskFullAhead", "> 0")
    assert (
        "less its threshold, which follows the clock, is expected to be > 0"
        in alert.annotations["description"]
    )
    assert (await check(file.text, promtool=binary("promtool")))["promtool"].startswith("SUCCESS")


async def test_switched_off_there_is_none() -> None:
    assert ahead(enabled=False).files() == ()
