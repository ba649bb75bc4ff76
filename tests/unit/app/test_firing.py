"""Whether Prometheus fires an alert, whatever its name: names of rules may hold anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import promql_parser
import pytest

from sidecar.app.alerts import Firing
from sidecar.series import LabelSet, SeriesBatch

NOW = 1_000.0


class Prometheus:
    """Answers with one series of a cluster, last sampled at a time."""

    def __init__(self, at: float) -> None:
        self.at, self.asked = at, ""

    async def instant(self, expr: str, *, at_ms: int, **_: Any) -> SeriesBatch:
        self.asked = expr
        labels = (LabelSet({"cluster": "eu"}),)
        return SeriesBatch("x", labels, np.array([at_ms], dtype=np.int64), np.array([[self.at]]))


class Clock:
    def now(self) -> float:
        return NOW


@pytest.mark.parametrize("name", ["Watchdog", 'Dead "man"', "back\\slash", "two\nlines", "{}"])
async def test_the_question_is_about_that_alert(name: str) -> None:
    source = Prometheus(NOW - 30.0)
    assert await Firing(source, Clock()).now(name, "eu") is True  # type: ignore[arg-type]
    selector: Any = promql_parser.parse(source.asked).expr.args[0].expr.args[0]  # type: ignore[union-attr]
    assert name in [one.value for one in selector.matchers.matchers], source.asked


@pytest.mark.parametrize(("at", "cluster", "fires"), [(0.0, "", False), (NOW, "us", None), (NOW, "", True)])
async def test_what_it_says(at: float, cluster: str, fires: bool | None) -> None:
    assert await Firing(Prometheus(at), Clock()).now("Watchdog", cluster) is fires  # type: ignore[arg-type]
