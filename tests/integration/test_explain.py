"""An anomaly on a real Prometheus, explained by a running pronoia: words, label values, over a restart."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from tests.integration.servers import Prometheus, Pronoia, get_json, http, wait_until

pytestmark = pytest.mark.integration

STEP = 2
BREAKS_AFTER = 20


def history(now: int) -> str:
    """An hour of four pods, and what is to come: one of them breaks while pronoia watches."""
    rng = random.Random(4)
    lines = ["# TYPE jobs gauge"]
    for pod in range(4):
        for at in range(now - 3600, now + 180, STEP):
            value = 10 + rng.gauss(0, 0.3)
            if pod == 2 and at >= now + BREAKS_AFTER:
                value *= 6
            lines.append(f'jobs{{service="shop",pod="p{pod}",zone="z{pod % 2}"}} {value} {at}')
    return "\n".join([*lines, "# EOF\n"])


def test_an_anomaly_is_explained(tmp_path: Path, keep: Callable[..., Any]) -> None:
    now = int(time.time()) // STEP * STEP
    prometheus = keep(Prometheus(tmp_path / "prometheus"))
    prometheus.backfill(history(now))
    prometheus.start()
    config = tmp_path / "pronoia.yaml"
    config.write_text(
        f"prometheus: {{url: '{prometheus.url}'}}\n"
        f"store: {{directory: {tmp_path / 'data'}}}\n"
        f"queries: [{{name: jobs, expr: sum by (service) (jobs), step: {STEP}s, history: 50m}}]\n"
        "runbooks: [{name: jobs, direction: above, actions: [scale out, call the shop's team]}]\n"
    )
    pronoia = keep(Pronoia(tmp_path / "pronoia", "--config", str(config)))
    pronoia.start()
    explanations = f"{pronoia.url}/api/v1/explanations"
    wait_until(lambda: get_json(explanations)["data"], timeout=60, what="an open anomaly")
    assert http(explanations + "?query=nope")[0] == 404
    assert http(explanations + "/jobs/0")[0] == 404
    result = CliRunner().invoke(main, ["explain", "--at", pronoia.url, "--format", "json"])
    assert result.exit_code == 1, "something is anomalous"
    (found,) = json.loads(result.output)
    assert found["labels"] == {"service": "shop"}
    assert found["expected"] == pytest.approx(40, abs=3)
    assert abs(found["since_ms"] / 1000 - now - BREAKS_AFTER) <= 5 * STEP
    began = time.monotonic()
    one = get_json(f"{explanations}/jobs/{found['fingerprint']}?contributions=true")["data"]
    assert time.monotonic() - began < 2
    best = one["contributions"][0]
    assert (best["label"], best["values"][0]["value"]) == ("pod", "p2")
    assert best["values"][0]["share"] > 0.9
    assert 'carried by pod="p2"' in one["text"]
    assert "scale out" in one["text"]

    def feedback(*arguments: str) -> tuple[int, str]:
        made = CliRunner().invoke(main, ["feedback", *arguments, "--at", pronoia.url])
        return made.exit_code, made.output

    def half_width() -> float:
        (series,) = get_json(f"{pronoia.url}/api/v1/series?query=jobs")["data"]
        assert series["fingerprint"] == found["fingerprint"], "by which a calm series is explained as well"
        return float(series["upper"]) - float(series["expected"])

    assert feedback("series", "jobs", "0", "noise")[0] == 1, "no such series"
    for who in ("ann", "bob", "eve", "joe"):
        assert feedback("series", "jobs", found["fingerprint"], "noise", "--by", who)[0] == 0
    told = get_json(f"{explanations}/jobs/{found['fingerprint']}")["data"]
    assert "noise: the band is 1.75 times as wide" in told["text"]
    said = get_json(f"{pronoia.url}/api/v1/series-feedback")["data"]
    assert [one["by"] for one in said] == ["joe", "eve", "bob", "ann"]
    assert feedback("list")[1].count("1.75") == 4

    pronoia.stop()
    pronoia.start()
    wait_until(lambda: get_json(explanations)["data"], timeout=60, what="the anomaly after a restart")
    (again,) = get_json(explanations)["data"]
    assert again["watched_seconds"] >= one["watched_seconds"] > 0, "what was known before is known still"
    again = get_json(f"{explanations}/jobs/{found['fingerprint']}")["data"]
    assert "1.75 times as wide" in again["text"], "people are heeded over a restart"
    wide = wait_until(half_width, what="the wider band")
    for one in said:
        assert feedback("undo", str(one["id"]))[0] == 0
    assert feedback("undo", str(said[0]["id"]))[0] == 1, "once"
    wait_until(lambda: half_width() < 0.75 * wide, what="the usual band")
