"""Alertmanager's own list against ours: who is learned, who is settled, who has ended."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.records import Episode
from tests.unit.webhooks.deliveries import EPOCH, SECOND
from webhooks.reconcile.differences import Held, compare, read

NOW = EPOCH + 3600 * SECOND
OURS = frozenset({"pronoia"})


def episode(
    state: str = "firing", *, starts: int = EPOCH, ends: int | None = None, seen: int = EPOCH
) -> Episode:
    return Episode("default", "f1", starts, ends, {"alertname": "A"}, {}, "", starts, seen, state=state)


def listed(
    *, starts: str = "2026-01-01T00:00:00Z", state: str = "active", receiver: str = "pronoia"
) -> list[Held]:
    alert: dict[str, Any] = {
        "labels": {"alertname": "A"},
        "annotations": {"summary": "s"},
        "startsAt": starts,
        "fingerprint": "f1",
        "receivers": [{"name": receiver}],
        "status": {"state": state},
    }
    return read([alert])


@pytest.mark.parametrize(
    ("held", "known", "expected"),
    [
        pytest.param(listed(), None, "learned", id="missed while down"),
        pytest.param(listed(receiver="other"), None, "", id="not for us"),
        pytest.param(listed(state="suppressed"), None, "", id="muted, so never sent"),
        pytest.param(listed(starts="2026-01-01T00:58:00Z"), None, "", id="may still wait in its group"),
        pytest.param(listed(), episode(), "", id="both know it"),
        pytest.param(listed(), episode("unknown"), "settled", id="it fires still"),
        pytest.param(listed(state="suppressed"), episode(), "", id="muted, but fires still"),
        pytest.param(listed(), episode("resolved", ends=EPOCH + SECOND), "", id="one peer is late"),
        pytest.param(
            listed(starts="2026-01-01T00:30:00Z"),
            episode("resolved", ends=EPOCH + SECOND),
            "learned",
            id="fired anew while down",
        ),
        pytest.param([], episode(), "ended", id="its end was never told"),
        pytest.param([], episode(seen=NOW - SECOND), "", id="heard of just now"),
    ],
)
def test_compare(held: list[Held], known: Episode | None, expected: str) -> None:
    episodes = {"f1": known} if known else {}
    absent: dict[tuple[str, int], int] = {}
    for _ in range(2):
        found = compare(
            held,
            episodes,
            now_ns=NOW,
            ours=OURS,
            up_since_ns=EPOCH - SECOND,
            absent_before=absent,
            seen_there={"f1"},
        )
        absent = found.absent
    changed = [name for name in ("learned", "settled", "ended") if getattr(found, name)]
    assert changed == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("up_since_ns", "seen_there", "n_looks"),
    [
        pytest.param(None, {"f1"}, 2, id="one did not answer"),
        pytest.param(NOW - 60 * SECOND, {"f1"}, 2, id="restarted, not told again yet"),
        pytest.param(EPOCH - SECOND, set(), 2, id="another sender's alert"),
        pytest.param(EPOCH - SECOND, {"f1"}, 1, id="one look is no proof"),
    ],
)
def test_absence_that_proves_nothing(up_since_ns: int | None, seen_there: set[str], n_looks: int) -> None:
    absent: dict[tuple[str, int], int] = {}
    for _ in range(n_looks):
        found = compare(
            [],
            {"f1": episode()},
            now_ns=NOW,
            ours=OURS,
            up_since_ns=up_since_ns,
            absent_before=absent,
            seen_there=seen_there,
        )
        absent = found.absent
    assert not found.ended


def test_odd_alerts_are_passed_over() -> None:
    assert read([{}, {"labels": 3}, {"labels": {}, "startsAt": "x", "fingerprint": "f"}]) == []
