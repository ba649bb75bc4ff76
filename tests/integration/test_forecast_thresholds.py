"""Alert rules of a real Prometheus, and when what they measure will be beyond their thresholds."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from tests.integration.servers import Prometheus, Pronoia, get_json, http, stopping, wait_until

pytestmark = pytest.mark.integration

HOUR = 3600.0
DAYS = 8
STEP = 300
FULL_IN_HOURS = 6.0
RULES = [
    {"alert": "DiskFull", "expr": "disk_used_percent > 90", "for": "10m"},
    {"alert": "DiskGone", "expr": "absent(disk_used_percent)"},
    {"alert": "QueueLong", "expr": "queue_length > 10 * 100"},
]


def history(now: float, began_hours_ago: float) -> str:
    """A week of disks: `/` began to fill so long ago and is full six hours after that.

    `/data` did so a day and a half ago and was tidied up after eight hours; `/logs` is rotated.
    """
    noise = np.random.default_rng(5)
    times = np.arange(now - DAYS * 86400, now + 1, STEP)
    then_hours = (times - (now - 1.5 * 86400)) / HOUR
    once = np.where((then_hours > 0) & (then_hours < 8), np.minimum(then_hours, 6.5), 0.0)
    age_hours = np.maximum(times - (now - began_hours_ago * HOUR), 0.0) / HOUR
    series = {
        'disk_used_percent{path="/"}': 40.0 + 50.0 * age_hours / FULL_IN_HOURS,
        'disk_used_percent{path="/data"}': 40.0 + 50.0 * once / FULL_IN_HOURS,
        'disk_used_percent{path="/logs"}': 20.0 + 54.0 * (times / HOUR / 3 % 1.0),
        'disk_used_percent{path="/still"}': np.full(len(times), 60.0),
        "queue_length": 200.0 + 100.0 * np.sin(times / 86400 * 2 * np.pi),
    }

    def lines() -> Iterator[str]:
        for metric in ("disk_used_percent", "queue_length"):
            yield f"# TYPE {metric} gauge"
            for name, values in series.items():
                if name.startswith(metric):
                    noisy = values + noise.normal(0.0, 0.1, len(values))
                    yield from (f"{name} {v:.4f} {t:.0f}" for t, v in zip(times, noisy, strict=True))
        yield "# EOF\n"

    return "\n".join(lines())


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with that history, whose disk `/` began to fill an hour and a half ago."""
    server = Prometheus(tmp_path_factory.mktemp("prometheus"))
    server.backfill(history(time.time(), began_hours_ago=1.5))
    (server.rules / "disks.yaml").write_text(json.dumps({"groups": [{"name": "disks", "rules": RULES}]}))
    with stopping(server):
        server.start()
        yield server


def etas(pronoia: Pronoia) -> dict[tuple[str, str], float]:
    """Seconds by path and probability."""
    page = http(pronoia.url + "/synthetic")[1].decode()
    return {
        (path, probability): float(value)
        for path, probability, value in re.findall(
            r'pronoia_threshold_eta_seconds\{path="([^"]+)",rule="DiskFull",threshold="> 90",'
            r'probability="([^"]+)"\} (\S+)',
            page,
        )
    }


def test_a_filling_disk_is_announced_four_hours_ahead_and_a_rotated_one_is_not(
    disks: Prometheus, make_pronoia: Callable[..., Pronoia], tmp_path: Path
) -> None:
    pronoia = make_pronoia(
        {
            "prometheus": {"url": disks.url},
            "queries": [{"name": "up", "expr": "up"}],
            "store": {"directory": str(tmp_path / "data")},
        }
    )
    pronoia.start()
    found = wait_until(lambda: etas(pronoia), what="a time until a threshold", timeout=60)
    assert found["/", "0.5"] == pytest.approx(4.5 * HOUR, rel=0.25)
    assert found["/", "0.5"] >= 4 * HOUR
    assert {path for path, _ in found} == {"/"}

    nearest = get_json(pronoia.url + "/api/v1/thresholds")["data"][0]
    assert (nearest["rule"], nearest["labels"]["path"]) == ("DiskFull", "/")
    metrics = http(pronoia.url + "/metrics")[1].decode()
    assert 'pronoia_threshold_rules{result="watched"} 2.0' in metrics
    assert 'pronoia_threshold_rules{result="no_comparison"} 1.0' in metrics
    pronoia.stop()
    # The weeks that were read are kept: the next start reads on from there.
    assert len(list((tmp_path / "data" / "thresholds").glob("*.history"))) == 2


def test_warnings_are_tried_on_the_past_and_written_as_rules_that_fire(disks: Prometheus) -> None:
    out = disks.rules / "pronoia-ahead.rules.yaml"
    arguments = [
        "--prometheus",
        disks.url,
        "--history",
        "4d",
        "--warn",
        "6h",
        "--rule",
        "DiskFull",
        "--out",
        str(out),
        "--format",
        "json",
    ]
    result = CliRunner().invoke(main, ["thresholds", "backtest", *arguments])
    assert result.exit_code == 0, result.output
    tried = {trial["rule"]: trial for trial in json.loads(result.stdout)}
    assert set(tried) == {"DiskFull"}
    disk = tried["DiskFull"]
    # `/data` was announced and filled; `/` is announced and may yet fill; nothing else was said.
    assert (disk["crossings"], disk["crossings_warned"], disk["warnings"]) == (1, 1, 1)
    assert disk["median_lead_seconds"] >= 4 * HOUR

    # Pronoia does not run here: the rule falls back to what Prometheus can extrapolate itself, which
    # takes a log that will be rotated for one that fills.
    http(disks.url + "/-/reload", method="POST")
    (group,) = [
        group
        for group in get_json(disks.url + "/api/v1/rules")["data"]["groups"]
        if group["name"] == "pronoia-ahead"
    ]
    assert {"path": "/"} in [alert["metric"] for alert in disks.query(group["rules"][0]["query"])]
