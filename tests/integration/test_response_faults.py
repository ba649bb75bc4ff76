"""Each channel fails in each way, all at once: what was told once, what fell back, what the metrics say."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.channels import Fault, LocalServer, MailServer, PagerDutyServer, SlackServer
from tests.integration.servers import wait_until
from tests.integration.test_response import Bench

pytestmark = pytest.mark.integration

TIMEOUT_SECONDS, SLOW_SECONDS = 3.0, 0.5
"""What the targets are configured with; the slow answer within it, the hanging ones beyond."""

HEALED = ("hangs", "answers too late", "429", "500", "slow")
"""Faults after which the target itself has the message, once."""
FALLEN = ("credentials", "dead")
"""Faults after which the fallback has it."""


def http_faults(fault: str) -> tuple[Fault, Callable[[str], None]]:
    """What a vendor's server does before it takes a request and after."""
    tries: list[str] = []

    def before(path: str) -> Any:
        if not path.endswith(("chat.postMessage", "/v2/enqueue")):
            return None
        tries.append(path)
        if fault == "credentials":
            return (200, {}, {"ok": False, "error": "invalid_auth"}) if "chat" in path else (401, {}, {})
        if fault == "dead":
            return 503, {}, {}
        if len(tries) > 1:
            return None
        if fault == "hangs":
            time.sleep(TIMEOUT_SECONDS + 1.0)
            return 504, {}, {}
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        return {"429": (429, {"Retry-After": "2"}, {}), "500": (500, {}, {})}.get(fault)

    def after(path: str) -> None:
        if fault == "answers too late" and len(tries) == 1 and path.endswith(("chat.postMessage", "enqueue")):
            time.sleep(TIMEOUT_SECONDS + 1.0)

    return before, after


def mail_faults(server: MailServer, fault: str) -> None:
    tries: list[str] = []

    def at(step: str) -> bool:
        tries.append(step)
        first = tries.count(step) == 1
        if fault == "hangs" and step == "recipient" and first:
            time.sleep(TIMEOUT_SECONDS + 1.0)
        if fault == "answers too late" and step == "kept" and first:
            time.sleep(TIMEOUT_SECONDS + 1.0)
        if fault == "slow" and step == "data":
            time.sleep(SLOW_SECONDS)
        return fault == "dead" and step == "recipient"

    server.at = at
    server.refusals += {
        "429": ["421 4.7.0 too many"],
        "500": ["451 4.3.0 trouble"],
        "credentials": ["535 5.7.8 who are you"],
    }.get(fault, [])


def test_each_channel_in_each_fault_is_told_once_or_its_fallback_is(
    tmp_path: Path, keep: Callable[..., Any]
) -> None:
    standby: PagerDutyServer = keep(PagerDutyServer())
    servers: dict[tuple[str, str], Any] = {}
    targets = [{**standby.target(), "name": "standby"}]
    for fault in (*HEALED, *FALLEN):
        for kind, make in (("slack", SlackServer), ("pager", PagerDutyServer), ("mail", MailServer)):
            server = servers[kind, fault] = keep(make())
            if isinstance(server, LocalServer):
                server.fault, server.after = http_faults(fault)
            else:
                mail_faults(server, fault)
            patience = "3s" if fault == "dead" else "1m"
            targets.append(
                {
                    **server.target(),
                    "name": name_of(kind, fault),
                    "timeout": TIMEOUT_SECONDS,
                    "fallback": "standby",
                    "fallback_after": patience,
                }
            )
    bench = Bench(tmp_path, keep, targets=targets)
    bench.fire(3)
    wait_until(
        lambda: all(n_told(servers[kind, fault]) for kind, fault in servers if fault in HEALED),
        timeout=60,
        what="all that heal are told",
    )
    fallen = [name_of(kind, fault) for kind, fault in servers if fault in FALLEN]
    wait_until(lambda: all(outcome(bench, name, "fallback") == 1.0 for name in fallen), what="fallbacks")
    bench.fire(3, ended=True)
    healed = [name_of(kind, fault) for kind, fault in servers if fault in HEALED]
    wait_until(
        lambda: all(outcome(bench, name, "sent") == 2.0 for name in healed), timeout=60, what="its end"
    )
    wait_until(lambda: list(standby.alerts.values()) == ["resolved"], what="its end at the fallback")
    assert standby.pages == 1, "six targets fell back on it, for one incident"
    for (kind, fault), server in servers.items():
        name = name_of(kind, fault)
        if fault in HEALED:
            assert n_told(server) == 1, (name, server.tail())
            assert outcome(bench, name, "failed") == float(fault != "slow"), name
            assert bench.metric(f'pronoia_notification_target_up{{target="{name}"}}') == 1.0
            doubtful = kind == "mail" and fault in ("hangs", "answers too late")
            assert outcome(bench, name, "repeated") == float(doubtful), name
        else:
            assert n_told(server) == 0, (name, server.tail())


def name_of(kind: str, fault: str) -> str:
    return f"{kind}-{fault.replace(' ', '-')}"


def outcome(bench: Bench, name: str, result: str) -> float:
    return bench.metric(f'pronoia_notifications_total{{result="{result}",target="{name}"}}')


def n_told(server: Any) -> int:
    """How often a person was told that something is wrong: messages, pages, mails that are not its end."""
    if isinstance(server, SlackServer):
        return len(server.roots)
    if isinstance(server, PagerDutyServer):
        return server.pages
    return sum("resolved: " not in subject for subject in server.subjects)
