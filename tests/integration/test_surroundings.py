"""What is known around a query, in the running sidecar: pauses, severity, absence."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sidecar.loop.resets import resets_expr
from tests.integration.conftest import WAVE, wave_config
from tests.integration.servers import Prometheus, Pronoia, http, wait_until

pytestmark = pytest.mark.integration

BREAK_AFTER_SECONDS = 20
"""What a start may take on a busy machine: what broke before it would be history."""


def watched(name: str, expr: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "expr": expr, "step": "1s", "history": "20m", "offset": "0s", **more}


def samples(pronoia: Pronoia, page: str, prefix: str) -> list[str]:
    text = http(f"{pronoia.url}/{page}")[1].decode()
    return sorted(line for line in text.splitlines() if line.startswith(prefix))


def test_a_paused_query_is_silent_and_others_tell_how_bad_it_is(
    prometheus: Prometheus, make_pronoia: Callable[..., Pronoia], tmp_path: Path
) -> None:
    now = time.time()
    breaks = int(now) + BREAK_AFTER_SECONDS
    broken = f"({WAVE}) * (1 + 9 * (vector(time()) >= bool {breaks}))"
    gone = f'label_replace({WAVE}, "svc", "stays", "", "") or label_replace(({WAVE}) and on () '
    gone += f'(vector(time()) < {breaks}), "svc", "stops", "", "")'
    pause = {
        "queries": ["paused"],
        "start": datetime.fromtimestamp(now - 60, UTC).isoformat(),
        "end": datetime.fromtimestamp(now + 3600, UTC).isoformat(),
    }
    document = wave_config(prometheus.url, tmp_path, pauses=[pause])
    document["queries"] = [
        watched("paused", broken),
        watched("broken", broken, importance={"revenue": 1.0}),
        watched("gone", gone),
    ]
    pronoia = make_pronoia(document).start()

    def told() -> bool:
        return bool(samples(pronoia, "metrics", 'pronoia_anomalies_total{query="broken"} 1'))

    wait_until(told, timeout=60, what="the anomaly")
    (severity,) = samples(pronoia, "synthetic", "pronoia_anomaly_severity{")
    assert severity.startswith('pronoia_anomaly_severity{query="broken"}')
    assert int(severity.split()[-1]) >= 3
    (absent,) = wait_until(
        lambda: samples(pronoia, "synthetic", "pronoia_series_absent{"), timeout=15, what="the absence"
    )
    assert absent == 'pronoia_series_absent{svc="stops",query="gone"} 1'
    assert samples(pronoia, "metrics", 'pronoia_anomalies_total{query="paused"}') == [
        'pronoia_anomalies_total{query="paused"} 0.0'
    ]
    assert samples(pronoia, "synthetic", 'pronoia_expected_upper{query="paused"}') == [
        'pronoia_expected_upper{query="paused"} +Inf'
    ]
    assert samples(pronoia, "metrics", 'pronoia_query_alarm_budget_per_series_month{query="broken"}')


def test_resets_are_counted_by_prometheus_itself(prometheus: Prometheus) -> None:
    answer = prometheus.query(resets_expr('prometheus_http_requests_total{code="200"}', 1.0))
    # Nothing is scraped here: no counters, and no resets among them.
    assert [(one["metric"], one["value"][1]) for one in answer] == [({"of": "reset"}, "0")]
