"""The demo's platform in a real Prometheus: a disk that fills is announced, an announced album no anomaly."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.cli.demo.backfill import write_history
from sidecar.cli.demo.courses import FILLS_SINCE_HOURS, FULL_AFTER_HOURS, RELEASE
from sidecar.cli.demo.platform import Platform
from sidecar.cli.demo.servers import platform_rules, release_event
from tests.integration.servers import Prometheus, Pronoia, binary, get_json, http, stopping, wait_until

pytestmark = pytest.mark.integration

HOUR = 3600.0
DAYS = 4.0


def part_of(metric: str, anchor: float) -> Platform:
    """The platform with one metric only."""
    tracks = tuple(track for track in Platform(anchor).tracks if track.family.name == metric)
    return Platform(anchor, tracks=tracks)


@pytest.fixture(scope="module")
def began() -> float:
    """When everything here began."""
    return time.time()


@pytest.fixture(scope="module")
def album_anchor(began: float) -> float:
    """The album came out half an hour ago; after hours it would be taken for the new normal anyway."""
    return began - RELEASE.begins_seconds - 0.5 * HOUR


@pytest.fixture(scope="module")
def prometheus_with_history(
    began: float, album_anchor: float, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    directory = tmp_path_factory.mktemp("platform")
    server = Prometheus(directory)
    for part in (part_of("stream_sessions_active", album_anchor), part_of("disk_used_ratio", began)):
        write_history(part, directory=directory, tsdb=server.data, promtool=binary("promtool"), days=DAYS)
    (server.rules / "platform.rules.yaml").write_text(json.dumps(platform_rules()))
    with stopping(server):
        server.start()
        yield server


@pytest.fixture
def start(
    prometheus_with_history: Prometheus, make_pronoia: Callable[..., Pronoia], tmp_path: Path
) -> Callable[[list[dict[str, Any]]], Pronoia]:
    def start_with(events: list[dict[str, Any]]) -> Pronoia:
        query = {"name": "sessions_active", "expr": "stream_sessions_active", "step": "1m", "history": "3d"}
        pronoia = make_pronoia(
            {
                "prometheus": {"url": prometheus_with_history.url},
                "queries": [query],
                "events": events,
                "store": {"directory": str(tmp_path / "data")},
            }
        )
        pronoia.start()
        return pronoia

    return start_with


def scores(pronoia: Pronoia) -> dict[str, float]:
    """By region, once there are any."""

    def newest() -> dict[str, float] | None:
        rows = get_json(pronoia.url + "/api/v1/series?query=sessions_active")["data"]
        found = {row["labels"]["region"]: row["score"] for row in rows}
        return found if len(found) == 3 and None not in found.values() else None

    found = wait_until(newest, what="a judgement", timeout=120)
    assert found is not None
    return found


@pytest.mark.timeout(300)  # It waits for up to two rounds of a minute, and starts beside other tests.
def test_the_disk_is_announced_four_hours_ahead_and_the_announced_album_is_no_anomaly(
    start: Callable[[list[dict[str, Any]]], Pronoia], began: float, album_anchor: float
) -> None:
    pronoia = start([release_event(album_anchor)])
    assert all(score <= 1 for score in scores(pronoia).values())
    rows = get_json(pronoia.url + "/api/v1/series?query=sessions_active")["data"]
    (album,) = [row for row in rows if row["labels"]["region"] == RELEASE.region]
    assert album["expected"] == pytest.approx(album["actual"], rel=0.4)
    page = http(pronoia.url + "/synthetic")[1].decode()
    (hour_ahead,) = re.findall(
        rf'^pronoia_forecast\{{.*region="{RELEASE.region}".*horizon="1h"}} (\S+)$', page, re.MULTILINE
    )
    assert float(hour_ahead) == pytest.approx(album["actual"], rel=0.4)

    etas = wait_until(
        lambda: get_json(pronoia.url + "/api/v1/thresholds")["data"], what="a threshold ahead", timeout=120
    )
    assert {(eta["rule"], eta["labels"]["service"]) for eta in etas} == {("DiskAlmostFull", "search")}
    left = began + (FULL_AFTER_HOURS - FILLS_SINCE_HOURS) * HOUR - time.time()
    (even,) = [eta["seconds"] for eta in etas if eta["probability"] == 0.5]
    assert left > 4 * HOUR
    assert even == pytest.approx(left, rel=0.3)


def test_without_its_entry_the_album_is_an_anomaly(start: Callable[[list[dict[str, Any]]], Pronoia]) -> None:
    found = scores(start([]))
    assert found.pop(RELEASE.region) > 1
    assert all(score <= 1 for score in found.values())
