"""How likely an incident is, in a running process: from a past in the database to a line on the page."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.model import StoreConfig
from sidecar.records import Episode, Incident
from sidecar.store.sqlite import SqliteStore
from tests.integration.servers import Prometheus, Pronoia, get_json, http, wait_until

pytestmark = pytest.mark.integration

DAY = 86400.0


def alert(at: float, incident_id: str | None = None) -> Episode:
    ns = int(at * 1e9)
    labels = {"alertname": "CartSlow", "service": "cart"}
    return Episode("default", f"f{ns}", ns, ns + 1, labels, {}, "", ns, ns, 1, "resolved", incident_id)


def fill(directory: Path, now: float) -> None:
    """Three months of incidents of `cart`, each with two alerts in the hours before; and alerts just now."""
    rng = np.random.default_rng(3)
    incidents, episodes = [], [alert(now - 60.0), alert(now - 400.0)]
    for n, at in enumerate(np.sort(now - rng.uniform(1, 90, 80) * DAY).tolist()):
        ns = int(at * 1e9)
        incidents.append(Incident(f"i{n}", "default", "x", ns, ns, ns + 1, "resolved", priority="P1"))
        episodes += [alert(at, f"i{n}"), *(alert(at - rng.uniform(600, 7200)) for _ in range(2))]

    async def write() -> None:
        store = await SqliteStore.open(StoreConfig(directory=directory), registry=CollectorRegistry())
        await store.commit_deliveries([], episodes)
        await store.put_incidents(incidents, episodes)
        await store.close()

    asyncio.run(write())


def test_a_stored_past_makes_a_risk_and_changes_are_kept_to_learn_from(
    prometheus: Prometheus, make_pronoia: Callable[..., Pronoia], tmp_path: Path
) -> None:
    directory = tmp_path / "data"
    fill(directory, time.time())
    pronoia = make_pronoia(
        {
            "prometheus": {"url": prometheus.url},
            "queries": [{"name": "up", "expr": "up"}],
            "store": {"directory": str(directory)},
            "forecast": {"risk": {"interval": "1s"}},
        }
    )
    pronoia.start()

    def risks() -> dict[str, float]:
        page = http(pronoia.url + "/synthetic")[1].decode()
        lines = r'pronoia_incident_risk_probability\{service="cart",horizon="([^"]+)"\} (\S+)'
        return {window: float(value) for window, value in re.findall(lines, page)}

    found = wait_until(risks, what="a risk", timeout=60)
    assert all(0.0 < probability < 1.0 for probability in found.values())
    told = get_json(pronoia.url + "/api/v1/risk")["data"]
    assert told["silent"] == ""
    assert {risk["service"] for risk in told["risks"]} == {"cart"}
    assert all(len(risk["reasons"]) == 3 for risk in told["risks"])
    # Two alerts have just come: more than usual is to be feared, whatever the hour.
    four_hours = next(trial for trial in told["trials"] if trial["window"] == "4h")
    assert found["4h"] > four_hours["base_rate"]

    change = json.dumps({"services": ["cart"], "kind": "deploy", "text": "v2"}).encode()
    http(pronoia.url + "/api/v1/changes", method="POST", data=change)

    def kept() -> bool:
        metrics = http(pronoia.url + "/metrics")[1].decode()
        return (
            re.search(r'pronoia_risk_signals_total\{kind="change"\} 1\.0$', metrics, re.MULTILINE) is not None
        )

    wait_until(kept, what="the change among the signals", timeout=30)
