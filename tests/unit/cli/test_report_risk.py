"""`pronoia report risk`: stored incidents and alerts become pasts of services; silence has an exit code."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from prometheus_client import CollectorRegistry

from sidecar.cli.main import main
from sidecar.config.model import StoreConfig
from sidecar.records import Episode, EpisodeStart, Incident
from sidecar.store.sqlite import SqliteStore
from webhooks.risk.past import pasts_of

DAY = 86400.0
NOW = 1_790_000_000.0


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learnt depends on the hour and the day of the week."""
    monkeypatch.setattr("sidecar.cli.report_risk.time", Clock)


class Clock:
    @staticmethod
    def time() -> float:
        return NOW


def episode(at: float, service: str, incident_id: str | None = None) -> Episode:
    labels = {"alertname": "X", "service": service}
    ns = int(at * 1e9)
    print_ = f"{service}-{ns}"
    return Episode("default", print_, ns, ns + 1, labels, {}, "", ns, ns, 1, "resolved", incident_id)


def incident(at: float, name: str, priority: str = "P1", noise: float = 0.0) -> Incident:
    ns = int(at * 1e9)
    return Incident(name, "default", name, ns, ns, ns + 1, "resolved", priority=priority, noise=noise)


def past(n_incidents: int) -> tuple[list[Incident], list[Episode]]:
    """Incidents of `cart` within 90 days, each with two alerts in the hours before it."""
    rng = np.random.default_rng(3)
    incidents, episodes = [], []
    for n, at in enumerate(np.sort(NOW - rng.uniform(0, 90, n_incidents) * DAY).tolist()):
        incidents.append(incident(at, f"i{n}"))
        episodes.append(episode(at, "cart", f"i{n}"))
        episodes += [episode(at - rng.uniform(600, 7200), "cart") for _ in range(2)]
    return incidents, [*episodes, episode(NOW - 90 * DAY, "web")]


def report(directory: Path, n_incidents: int) -> Result:
    incidents, episodes = past(n_incidents)

    async def fill() -> None:
        store = await SqliteStore.open(StoreConfig(directory=directory), registry=CollectorRegistry())
        await store.commit_deliveries([], episodes)
        await store.put_incidents(incidents, episodes)
        await store.close()

    asyncio.run(fill())
    return CliRunner().invoke(main, ["report", "risk", "--data", str(directory), "--format", "json"])


def test_stored_incidents_make_risks(tmp_path: Path) -> None:
    result = report(tmp_path, 80)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {risk["service"] for risk in found["risks"]} == {"cart", "web"}
    assert all(0 <= risk["probability"] <= 1 for risk in found["risks"])
    picture = tmp_path / "risk.svg"
    arguments = ["report", "risk", "--data", str(tmp_path), "--plot", str(picture)]
    text = CliRunner().invoke(main, arguments).stdout
    assert "Brier" in text
    assert "calibration" in text
    assert "ahead in the median" in text
    assert picture.read_text().startswith("<?xml")


def test_a_short_past_is_silent_and_says_so(tmp_path: Path) -> None:
    result = report(tmp_path, 8)
    assert result.exit_code == 1
    assert "are needed" in json.loads(result.stdout)["silent"]


@pytest.mark.parametrize(
    ("one", "counts"),
    [
        pytest.param(incident(1000.0, "i"), True, id="real"),
        pytest.param(incident(1000.0, "i", "P4"), False, id="no priority"),
        pytest.param(incident(1000.0, "i", noise=0.9), False, id="noise"),
    ],
)
def test_only_incidents_that_mattered_count(one: Incident, counts: bool) -> None:
    labels = '{"alertname":"X","service":"cart"}'
    (cart,) = pasts_of([one], [EpisodeStart(int(at * 1e9), labels, "i") for at in (1000.0, 1010.0)])
    assert cart.service == "cart"
    assert cart.incidents.tolist() == ([1000.0] if counts else [])
    assert cart.alerts.tolist() == [1000.0, 1010.0]
