"""Incidents do not hang on what things are called, on when it was, or on how severe somebody found it."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from msgspec import Struct
from msgspec.structs import replace

from webhooks.correlate.topology import Topology
from webhooks.offline import correlate

CALLS = {
    "web": ("cart", "search", "account"),
    "cart": ("pricing", "cart-db"),
    "search": ("index",),
    "account": ("account-db", "mailer"),
    "pricing": ("pricing-db",),
}
SERVICES = sorted({*CALLS, *(name for callees in CALLS.values() for name in callees)})
N_FAULTS = 24
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class Alert(Struct, frozen=True):
    """One alert of a made-up history, in seconds from its beginning; `fault` is -1 where there was none."""

    fault: int
    service: str
    rule: str
    blames: str
    begins: float
    lasts: float


class Telling(Struct, frozen=True):
    """How the history is told."""

    names: dict[str, str] = {}
    """Other names of services and rules."""
    later: timedelta = timedelta(0)
    severities: tuple[str, str] = ("critical", "warning")
    texts: bool = True
    slow_seconds: float = 0.0
    """Deliveries are up to so much later than they could be."""


PLAIN = Telling()


def history() -> list[Alert]:
    """Faults that climb from a service to its callers, and lone short alerts in between."""
    chance = random.Random(7)
    alerts = []
    for fault in range(N_FAULTS):
        at, service = fault * 3600.0 + chance.uniform(0, 1200), chance.choice(SERVICES)
        lasts = chance.uniform(900, 2100)
        alerts.append(Alert(fault, service, "PodCrashLooping", "", at, lasts))
        while callers := [name for name in SERVICES if service in CALLS.get(name, ())]:
            at += chance.uniform(20, 50)
            alerts.append(Alert(fault, callers[0], "HighErrorRate", service, at, lasts))
            service = callers[0]
        alerts.append(Alert(-1, chance.choice(SERVICES), "HighLoad", "", fault * 3600.0 + 3500, 60))
    return alerts


def incidents(alerts: list[Alert], telling: Telling, *, graph: bool) -> set[frozenset[int]]:
    """What correlation makes of the history, by places in the list."""
    chance = random.Random(1)
    lines = []
    for at, one in enumerate(alerts):
        for ended in (False, True):
            when = one.begins + ended * one.lasts + 5.0 + chance.uniform(0, telling.slow_seconds)
            told = {"version": "4", "alerts": [_alert(at, one, telling, ended=ended)]}
            lines.append((when, {"received_at": _stamp(when, telling), "payload": told}))
    lines.sort(key=lambda line: line[0])
    services = [
        {"name": telling.names.get(name, name), "depends_on": [telling.names.get(c, c) for c in callees]}
        for name, callees in ((name, CALLS.get(name, ())) for name in SERVICES)
    ]
    rows = correlate(
        [json.dumps(line).encode() for _, line in lines],
        topology=Topology.of({"services": services}) if graph else None,
    )
    return {frozenset(int(name, 16) for name in row["alerts"]) for row in rows}


def _alert(at: int, one: Alert, telling: Telling, *, ended: bool) -> dict[str, Any]:
    service, blamed = (telling.names.get(name, name) for name in (one.service, one.blames))
    text = f"requests fail calling {blamed}" if blamed else f"{service} restarts"
    return {
        "status": "resolved" if ended else "firing",
        "fingerprint": f"{at:016x}",
        "labels": {
            "alertname": telling.names.get(one.rule, one.rule),
            "service": service,
            "severity": telling.severities[one.fault < 0],
        },
        "annotations": {"summary": text} if telling.texts else {},
        "startsAt": _stamp(one.begins, telling),
        "endsAt": _stamp(one.begins + one.lasts, telling) if ended else "0001-01-01T00:00:00Z",
    }


def _stamp(seconds: float, telling: Telling) -> str:
    return (BEGIN + telling.later + timedelta(seconds=seconds)).isoformat()


def together(groups: set[frozenset[int]]) -> set[tuple[int, int]]:
    """Pairs that share an incident."""
    return {pair for group in groups for pair in combinations(sorted(group), 2)}


def f1(found: set[tuple[int, int]], true: set[tuple[int, int]]) -> float:
    return 2 * len(found & true) / (len(found) + len(true))


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "no graph"])
def test_faults_are_found(graph: bool) -> None:
    """Margin: .98 with the graph and without when this was written."""
    alerts = history()
    by_fault = {
        frozenset(at for at, one in enumerate(alerts) if one.fault == fault) for fault in range(N_FAULTS)
    }
    assert f1(together(incidents(alerts, PLAIN, graph=graph)), together(by_fault)) >= 0.9


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "no graph"])
@pytest.mark.parametrize(
    "telling",
    [
        pytest.param(replace(PLAIN, names={n: f"unit{i}x" for i, n in enumerate(SERVICES)}), id="services"),
        pytest.param(replace(PLAIN, later=timedelta(days=37, hours=5, seconds=1200)), id="another time"),
        pytest.param(replace(PLAIN, severities=("warning", "warning")), id="one severity"),
        pytest.param(replace(PLAIN, severities=("P2", "P2")), id="unknown severities"),
    ],
)
def test_what_tells_nothing_changes_nothing(telling: Telling, graph: bool) -> None:
    alerts = history()
    assert incidents(alerts, telling, graph=graph) == incidents(alerts, PLAIN, graph=graph)


@pytest.mark.parametrize("graph", [True, False], ids=["graph", "no graph"])
@pytest.mark.parametrize(
    ("telling", "at_least"),
    [
        pytest.param(
            replace(PLAIN, names={"PodCrashLooping": "A", "HighErrorRate": "B", "HighLoad": "C"}),
            0.95,
            id="rules without words",
        ),
        pytest.param(replace(PLAIN, texts=False), 0.8, id="no texts"),
        pytest.param(replace(PLAIN, slow_seconds=25.0), 0.9, id="slow deliveries"),
    ],
)
def test_what_tells_less_changes_little(telling: Telling, at_least: float, graph: bool) -> None:
    alerts = history()
    plain, less = (together(incidents(alerts, one, graph=graph)) for one in (PLAIN, telling))
    assert f1(less, plain) >= at_least
