"""Alertmanager's event recorder: both versions of its alerts, and what is none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.webhooks.deliveries import EPOCH
from webhooks.intake.recorder import Recorded, parse_events

FIRST: dict[str, Any] = {
    "fingerprint": "255",
    "labels": {"labels": [{"key": "alertname", "value": "Down"}, {"key": "pod"}]},
    "startsAt": "2026-01-01T00:00:00Z",
    "endsAt": "2026-01-01T00:00:01Z",
}
SECOND = {
    "fingerprint": 255,
    "labels": {"alertname": "Down", "pod": ""},
    "annotations": {"summary": "it is down"},
    "starts_at": "2026-01-01T00:00:00Z",
    "ends_at": "2026-01-01T00:00:01Z",
}


def read(kind: str, data: object) -> Recorded:
    return parse_events(msgspec.json.encode({"data": {kind: data}}))


@pytest.mark.parametrize("alert", [pytest.param(FIRST, id="first"), pytest.param(SECOND, id="second")])
def test_an_alert_that_came_and_one_that_went(alert: dict[str, Any]) -> None:
    (came,) = read("alertCreated", {"alert": alert}).created
    (went,) = read("alert_resolved" if alert is SECOND else "alertResolved", {"alert": alert}).resolved
    assert came.fingerprint == went.fingerprint == "00000000000000ff"
    assert came.labels == {"alertname": "Down", "pod": ""}
    assert came.annotations == alert.get("annotations", {})
    assert (came.firing, came.starts_at_ns, came.ends_at_ns) == (True, EPOCH, None)
    assert (went.firing, went.starts_at_ns, went.ends_at_ns) == (False, EPOCH, EPOCH + 10**9)


def test_one_that_ended_may_not_say_when_and_may_stand_in_its_group() -> None:
    (went,) = read("alertResolved", {"alert": {"details": {**FIRST, "endsAt": None}}}).resolved
    assert (went.firing, went.ends_at_ns) == (False, None)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"labels": {}}, id="no labels"),
        pytest.param({"startsAt": "0001-01-01T00:00:00Z"}, id="no start"),
        pytest.param({"fingerprint": "x"}, id="no number"),
    ],
)
def test_what_is_no_alert_is_counted_as_unknown(changes: dict[str, Any]) -> None:
    found = read("alertCreated", {"alert": {**FIRST, **changes}})
    assert (found.created, found.resolved, dict(found.kinds)) == ([], [], {"unknown": 1})
