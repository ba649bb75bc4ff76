"""Beside a real VictoriaMetrics and vmalert: what is pulled, what is scraped, where rules are evaluated."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from sidecar.cli.main import main
from sidecar.config.model import SourceConfig
from sidecar.config.slo import PackName
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from tests.integration.servers import (
    Pronoia,
    VictoriaMetrics,
    Vmalert,
    binary,
    free_port,
    get_json,
    stopping,
    wait_until,
)

pytestmark = pytest.mark.integration

PACKS = get_args(PackName)

STEP = 5
STEPS = 1440
"""Two hours."""


def usual(times: np.ndarray) -> np.ndarray:
    """A level of 100 with noise that depends on nothing but the time."""
    return np.round(100 + 3 * np.sin(times * 12.9898) * np.cos(times * 78.233), 6)


@pytest.fixture
def port() -> int:
    """Where pronoia will listen, and is scraped."""
    return free_port()


@pytest.fixture
def stored(tmp_path: Path, port: int) -> Iterator[tuple[VictoriaMetrics, np.ndarray]]:
    """A VictoriaMetrics, and the seconds at which it has samples of `requests`."""
    synthetic = {
        "job_name": "pronoia-synthetic",
        "honor_labels": True,
        "metrics_path": "/synthetic",
        "scrape_interval": "1s",
        "static_configs": [{"targets": [f"127.0.0.1:{port}"]}],
    }
    server = VictoriaMetrics(tmp_path, scrape=[synthetic])
    with stopping(server):
        server.start()
        now = int(time.time()) // STEP * STEP
        times = np.arange(now - STEPS * STEP, now, STEP)
        pairs = zip(usual(times).tolist(), times.tolist(), strict=True)
        server.store(f'requests{{service="shop"}} {value} {at * 1000}' for value, at in pairs)
        server.settle()
        yield server, times


async def test_its_range_is_what_it_has_stored(stored: tuple[VictoriaMetrics, np.ndarray]) -> None:
    server, times = stored
    config = SourceConfig(url=server.url, retries=0)
    # It tells the newest sample at steps that lie a little beyond it, too.
    first, last = int(times[10]) * 1000, int(times[-10]) * 1000
    async with PrometheusClient(config, metrics=PullMetrics(CollectorRegistry())) as client:
        batch = await client.range(
            "requests", start_ms=first, end_ms=last, step_ms=STEP * 1000, name="requests", max_series=9
        )
        history = await client.history(
            "requests", start_ms=first, end_ms=last, step_ms=STEP * 1000, name="requests", max_series=9
        )
    assert [dict(labels) for labels in batch.labels] == [{"__name__": "requests", "service": "shop"}]
    assert batch.timestamps.tolist() == [int(at) * 1000 for at in times[10:-9]]
    np.testing.assert_allclose(batch.values[0], usual(times[10:-9]))
    np.testing.assert_allclose(history.values, batch.values)


def test_a_rule_is_published_to_vmalert_and_fires_there(
    stored: tuple[VictoriaMetrics, np.ndarray], port: int, tmp_path: Path
) -> None:
    server, _ = stored
    rules = tmp_path / "rules"
    rules.mkdir()
    # Without a file it does not start.
    (rules / "own.yaml").write_text(
        '{"groups": [{"name": "own", "rules": [{"record": "a:b", "expr": "1"}]}]}'
    )
    vmalert = Vmalert(tmp_path, rules=rules, source=server.url)
    query = {"name": "requests", "expr": "requests", "step": "5s", "history": "2h", "rule_for": "0s"}
    config = tmp_path / "pronoia.yaml"
    config.write_text(
        json.dumps(
            {
                "prometheus": {"url": server.url, "evaluator": {"url": vmalert.url}},
                "rules": {"directory": str(rules), "min_history": "1h", "evaluation_interval": "1s"},
                "queries": [query],
            }
        )
    )
    arguments = ("--config", str(config), "--data", str(tmp_path / "memory"))
    pronoia = Pronoia(tmp_path / "pronoia", *arguments, port=port)

    def firing(value: float) -> list[str]:
        """A sample of now, and the alerts that fire."""
        server.store([f'requests{{service="shop"}} {value}'])
        time.sleep(0.5)
        told = get_json(f"{vmalert.url}/api/v1/alerts")["data"]["alerts"] or ()
        return sorted({alert["name"] for alert in told if alert["state"] == "firing"})

    def published() -> bool:
        """Whether pronoia has seen its rules evaluated; VictoriaMetrics itself has none to show."""
        assert firing(100.0) == []
        return '"event": "rule published"' in pronoia.tail(100_000)

    with stopping(server, vmalert, pronoia):
        vmalert.start()
        pronoia.start()
        wait_until(published, timeout=90, what="pronoia sees its rules in vmalert")
        wait_until(lambda: "RequestsAboveExpected" in firing(300.0), timeout=60, what="its alert fires")


def test_every_pack_is_fine_by_vmalert(tmp_path: Path) -> None:
    written = CliRunner().invoke(main, ["rules", "generate", *PACKS, "--out", str(tmp_path)])
    assert written.exit_code == 0, written.output
    assert len(list(tmp_path.glob("*.rules.yaml"))) == len(PACKS)
    for rules in (f"{tmp_path}/*.rules.yaml", f"{tmp_path}/*.test.yaml"):
        done = subprocess.run(
            [binary("vmalert"), "-dryRun", f"-rule={rules}"], capture_output=True, text=True, check=False
        )
        # What is no file of rules shows that it looks.
        assert (done.returncode == 0) == rules.endswith(".rules.yaml"), done.stderr
