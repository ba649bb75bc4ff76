"""What `/health` and the list of queries say of the metrics loop."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from sidecar.app.views import AppViews

NOW = 1_750_000_000.0


def view_of(watch: Any, alerts: Any = None) -> AppViews:
    loop = SimpleNamespace(watches=[watch], last_error=None, errors={})
    workings = SimpleNamespace(metrics_loop=loop, clock=SimpleNamespace(now=lambda: NOW))
    ground = SimpleNamespace(store=None, wall=lambda: NOW)
    return AppViews(cast(Any, ground), alerts, cast(Any, None), lambda: cast(Any, workings))


@pytest.mark.parametrize(
    ("actual", "named"),
    [
        pytest.param(None, [], id="not judged yet"),
        pytest.param([], ["up"], id="nothing was ever there"),
        pytest.param([np.nan], ["up"], id="what was there is gone"),
        pytest.param([np.nan, 1.0], [], id="some are there"),
    ],
)
def test_a_query_without_series_is_well_and_named(actual: list[float] | None, named: list[str]) -> None:
    evaluation = None
    if actual is not None:
        evaluation = SimpleNamespace(actual=np.array(actual), timestamp_ms=int(NOW * 1000))
    watch = SimpleNamespace(
        query=SimpleNamespace(name="up"), evaluation=evaluation, judged_ms=int(NOW * 1000), step_ms=60_000
    )
    found = view_of(watch).health()["metrics"]()
    assert found.ok
    assert found.detail["no_series"] == named


def test_a_query_that_is_not_answered_says_why() -> None:
    query = SimpleNamespace(name="up", expr="up", step=60.0, rule=None)
    view = view_of(SimpleNamespace(query=query, evaluation=None))
    assert "error" not in view.queries()[0]
    view._workings().metrics_loop.errors["up"] = "prometheus answers with 503"
    assert view.queries()[0]["error"] == "prometheus answers with 503"


@pytest.mark.parametrize(("trouble", "last"), [("no room", None), (None, "broke off")])
def test_alerts_that_are_refused_are_not_well(trouble: str | None, last: str | None) -> None:
    alerts = SimpleNamespace(last_error=last, intake=SimpleNamespace(trouble=trouble))
    found = view_of(None, alerts).health()["alerts"]()
    assert not found.ok
    assert found.detail["error"] == (trouble or last)
