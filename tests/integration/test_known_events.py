"""A release-day surge in a real Prometheus, with and without an entry in the configuration."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers import Prometheus, Pronoia, get_json, http, wait_until

pytestmark = pytest.mark.integration

SURGE_SECONDS = 1800.0
# Any Prometheus has this series, without a scrape: a daily course, some noise, and a surge that lasts still.
USUAL = (
    "1000 + 300 * sin(vector(time() * 0.0000727)) + 20 * sin(vector(time() / 7)) + 9 * sin(vector(time()))"
)


def plays(surge_began: float) -> str:
    return f"({USUAL}) * (1 + 2.5 * (vector(time()) >= bool {surge_began:.0f}))"


def judged(pronoia: Pronoia) -> dict[str, Any]:
    """The newest judgement, once there is one."""

    def newest() -> Any:
        found = get_json(pronoia.url + "/api/v1/series?query=plays")["data"]
        return found and found[0]["score"] is not None and found[0]

    return dict(wait_until(newest, what="a judgement", timeout=60))


@pytest.mark.parametrize("announced", [True, False], ids=["with an entry", "without an entry"])
def test_a_release_day_surge_is_an_anomaly_unless_it_was_announced(
    announced: bool, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia], tmp_path: Path
) -> None:
    began = time.time() - SURGE_SECONDS
    release = {
        "name": "album",
        "kind": "release",
        "start": datetime.fromtimestamp(began - 300, UTC).isoformat(),
        "duration": "8h",
        "uplift": 3.5,
    }
    pronoia = make_pronoia(
        {
            "prometheus": {"url": prometheus.url},
            "queries": [{"name": "plays", "expr": plays(began), "step": "10s", "history": "2d"}],
            "events": [release] if announced else [],
            "store": {"directory": str(tmp_path / "data")},
        }
    )
    pronoia.start()
    found = judged(pronoia)
    assert found["actual"] > 2000
    if announced:
        assert found["score"] <= 1
        assert found["expected"] == pytest.approx(found["actual"], rel=0.3)
        page = http(pronoia.url + "/synthetic")[1].decode()
        (hour_ahead,) = [
            float(line.split()[-1])
            for line in page.splitlines()
            if line.startswith("pronoia_forecast{") and 'horizon="1h"' in line
        ]
        assert hour_ahead == pytest.approx(found["actual"], rel=0.3)
    else:
        assert found["score"] > 1
