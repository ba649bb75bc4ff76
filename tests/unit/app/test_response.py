"""What people are told, and timelines tell, after a restart: the ends of incidents that were only stored."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from exporters.page import SyntheticPage
from sidecar.app.ground import Ground
from sidecar.app.response import Responding
from sidecar.config.load import load_text
from sidecar.prometheus.session import PullMetrics
from sidecar.records import Incident, OutboxMessage, Response, TimelineEntry
from sidecar.store.sqlite import SqliteStore
from webhooks.pipeline import AlertsLoop

SECOND = 1_000_000_000
NOW = 1_800_000_000


def told(incident_id: str, kind: str, number: int, at_ns: int) -> OutboxMessage:
    return OutboxMessage(
        f"hook/{incident_id}/{number}", "hook", incident_id, number, kind, "P1", 1, at_ns, at_ns, {}, "sent"
    )


@pytest.mark.parametrize("began_seconds_ago", [60, 9 * 86_400], ids=["a minute long", "nine days long"])
@pytest.mark.parametrize("end", ["resolved", "merged"])
async def test_an_end_that_was_stored_and_not_told_is_told_and_noted_after_the_restart(
    tmp_path: Path, end: str, began_seconds_ago: int
) -> None:
    """Killed before it was told, or after that and before it was noted; one is told and noted already."""
    config = load_text(
        f"store: {{directory: {tmp_path}}}\n"
        "notify: {targets: [{name: hook, url: 'http://127.0.0.1:1/hook', min_priority: P3}]}"
    )
    registry = CollectorRegistry()
    ground = Ground(
        registry=registry,
        store=await SqliteStore.open(config.store, registry=registry),
        page=SyntheticPage(max_series=1, registry=registry),
        wall=lambda: float(NOW),
        pull_metrics=PullMetrics(registry),
    )
    store, at_ns, end_ns = ground.store, (NOW - began_seconds_ago) * SECOND, (NOW - 30) * SECOND
    names = ("killed before", "told", "told and noted")
    await store.put_incidents(
        [Incident(name, "default", name, at_ns, end_ns, state=end, priority="P1") for name in names],
        [],
    )
    await store.response_store.put_responses(
        [Response(name, "default", at_ns) for name in names],
        [
            *(TimelineEntry(name, at_ns, "opened", "pronoia", name) for name in names),
            TimelineEntry("told and noted", end_ns, end, "pronoia", "all alerts ended"),
        ],
    )
    await store.put_messages(
        [
            *(told(name, "opened", 1, at_ns) for name in names),
            *(told(name, end, 2, end_ns) for name in names[1:]),
        ]
    )
    responding = Responding(config, ground, alerts=lambda: loop, secret=b"x" * 16)
    loop = AlertsLoop(
        store, bus=ground.bus, config=config.webhook, registry=registry, teller=responding, now=ground.wall
    )
    try:
        await loop.open()
        await loop.stop()
        kinds = {name: [one.kind for one in await store.messages_of(name)] for name in names}
        noted = {name: [one.kind for one in await store.response_store.timeline(name)] for name in names}
        ends = {one.incident_id: one.over_at_ns for one in await store.response_store.responses()}
    finally:
        await ground.close()
    assert kinds == noted == {name: ["opened", end] for name in names}
    known = NOW * SECOND if end == "resolved" else None
    assert ends == {"killed before": known, "told": known, "told and noted": None}
