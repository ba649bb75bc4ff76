"""Weeks of made-up webhooks of one shop, seeded and labelled: real incidents, and rules that cry wolf.

What makes it like life: rules that make noise also fire in real incidents, alone they end by
themselves, and real incidents spread from a service to those that call it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from sidecar.series import LabelSet

WEEK_SECONDS = 7 * 86400.0
START = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
INCIDENTS_A_WEEK, NOISE_A_WEEK = 12, 45

CALLS = {
    "web": ("cart", "search", "login"),
    "cart": ("order", "cart-db"),
    "order": ("payment", "order-db", "stock"),
    "payment": ("bank",),
    "search": ("search-db",),
    "login": ("user-db",),
    "stock": ("stock-db",),
    **dict.fromkeys(("bank", "cart-db", "order-db", "search-db", "user-db", "stock-db"), ()),
}
TIER_1 = frozenset({"web", "cart", "order", "payment"})
GRAVE = (("ServiceDown", "critical"), ("HighErrorRate", "critical"))
MILD = (("HighLatency", "warning"), ("QueueGrows", "warning"), ("SaturatedPool", "warning"))
WOLVES = (
    # Rule, severity, seconds that its lone alerts last, share of the lone alerts that are real after all.
    ("HighLatency", "warning", (90, 400), 0.1),
    ("CpuThrottled", "warning", (120, 900), 0.0),
    ("GcPauses", "warning", (60, 600), 0.0),
    ("SaturatedPool", "warning", (120, 500), 0.05),
    ("ReplicaLag", "critical", (200, 1500), 0.0),
)
"""ReplicaLag is called critical and never matters: only people can say so."""


@dataclass
class Stream:
    """Deliveries in order of time, and what is true of each alert."""

    deliveries: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)

    def alert(
        self,
        rule: str,
        service: str,
        severity: str,
        begin: float,
        end: float,
        *,
        incident: str | None,
        priority: str,
    ) -> None:
        """One alert from its start to its end, each told of by a delivery."""
        labels = {"alertname": rule, "service": service, "severity": severity, "namespace": "shop"}
        fingerprint = LabelSet(labels).fingerprint()
        for at, status in ((begin + 20.0, "firing"), (end + 15.0, "resolved")):
            alert = {
                "status": status,
                "labels": labels,
                "annotations": {"summary": f"{rule} of {service}"},
                "startsAt": _stamp(begin),
                "endsAt": _stamp(end) if status == "resolved" else "0001-01-01T00:00:00Z",
                "generatorURL": "",
                "fingerprint": fingerprint,
            }
            self.deliveries.append((at, _payload(alert, status)))
        self.truth.append(
            {
                "fingerprint": fingerprint,
                "startsAt": _stamp(begin),
                "is_noise": incident is None,
                "incident": incident,
                "priority": priority,
                "alertname": rule,
            }
        )


def made(weeks: int, seed: int = 0) -> Stream:
    """So many weeks."""
    rng = random.Random(seed)
    stream = Stream()
    for week in range(weeks):
        begin = START + week * WEEK_SECONDS
        for number in range(INCIDENTS_A_WEEK):
            _incident(stream, rng, f"I{week:02d}{number:02d}", begin + rng.random() * WEEK_SECONDS)
        for number in range(NOISE_A_WEEK):
            _wolf(stream, rng, f"L{week:02d}{number:02d}", begin + rng.random() * WEEK_SECONDS)
    stream.deliveries.sort(key=lambda one: one[0])
    return stream


def write(stream: Stream, directory: Path) -> tuple[Path, Path, Path]:
    """Webhooks, truth and topology as files."""
    webhooks, truth, topology = (directory / n for n in ("webhooks.jsonl", "truth.jsonl", "topology.yaml"))
    lines = (json.dumps({"received_at": _stamp(at), "payload": body}) for at, body in stream.deliveries)
    webhooks.write_text("\n".join(lines) + "\n")
    truth.write_text("\n".join(map(json.dumps, stream.truth)) + "\n")
    services = [
        {"name": name, "namespace": "shop", "tier": 1 if name in TIER_1 else 2, "depends_on": list(calls)}
        for name, calls in CALLS.items()
    ]
    topology.write_text(yaml.safe_dump({"version": 1, "services": services}))
    return webhooks, truth, topology


def _incident(stream: Stream, rng: random.Random, name: str, begin: float) -> None:
    """A fault of one service, felt by those that call it."""
    root = rng.choice(sorted(CALLS))
    grave = rng.random() < 0.6
    priority = "P0" if grave and root in TIER_1 else "P1" if grave else "P2"
    lasts = rng.uniform(900, 5400)
    rule, severity = rng.choice(GRAVE if grave else MILD)
    stream.alert(rule, root, severity, begin, begin + lasts, incident=name, priority=priority)
    for hops, service in _callers(root):
        if rng.random() < 0.75**hops:
            rule, severity = rng.choice((*GRAVE, *MILD) if grave else MILD)
            at = begin + hops * rng.uniform(20, 90)
            ends = begin + lasts + rng.uniform(-60, 200)
            stream.alert(rule, service, severity, at, ends, incident=name, priority=priority)


def _wolf(stream: Stream, rng: random.Random, name: str, begin: float) -> None:
    """A lone alert, mostly for nothing."""
    rule, severity, (least, most), real = rng.choice(WOLVES)
    end = begin + rng.uniform(least, most)
    incident = name if rng.random() < real else None
    stream.alert(
        rule,
        rng.choice(sorted(CALLS)),
        severity,
        begin,
        end,
        incident=incident,
        priority="P2" if incident else "P4",
    )


def _callers(root: str) -> Iterator[tuple[int, str]]:
    reached, edge, hops = {root}, {root}, 0
    while edge:
        hops += 1
        edge = {name for name, calls in CALLS.items() if name not in reached and edge & set(calls)}
        reached |= edge
        yield from ((hops, name) for name in sorted(edge))


def _payload(alert: dict[str, Any], status: str) -> dict[str, Any]:
    group = {"alertname": alert["labels"]["alertname"], "service": alert["labels"]["service"]}
    return {
        "version": "4",
        "groupKey": "{}:" + json.dumps(group),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "pronoia",
        "groupLabels": group,
        "commonLabels": alert["labels"],
        "commonAnnotations": alert["annotations"],
        "externalURL": "http://alertmanager:9093",
        "alerts": [alert],
    }


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
