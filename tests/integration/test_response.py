"""A storm in a real Prometheus and Alertmanager: one Slack message, one page, one mail, each told once."""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.integration.channels import SIGNING_SECRET, MailServer, PagerDutyServer, SlackServer
from tests.integration.servers import Alertmanager, Pronoia, free_port, get_json, http, wait_until

pytestmark = pytest.mark.integration


class Bench:
    """Alertmanager, pronoia, and the three local services that it tells."""

    def __init__(self, directory: Path, keep: Callable[..., Any], **extra: Any) -> None:
        self.slack, self.pager, self.mail = keep(SlackServer()), keep(PagerDutyServer()), keep(MailServer())
        port = free_port()
        hook = f"http://127.0.0.1:{port}/webhooks/alertmanager"
        self.alertmanager: Alertmanager = keep(Alertmanager(directory / "am", webhook=hook))
        self._configure(directory / "am" / "alertmanager.yml", extra.pop("alertmanager", {}))
        self.alertmanager.start()
        targets = extra.pop(
            "targets",
            [self.slack.target(), self.pager.target(), self.mail.target()],
        )
        config = {
            "prometheus": {"url": "http://127.0.0.1:1"},
            "alertmanagers": [{"url": self.alertmanager.url}],
            "webhook": {"incident_hold": "1s", "reconcile_interval": "0s"},
            "notify": {"targets": targets},
            "response": {"external_url": f"http://127.0.0.1:{port}", **extra.pop("response", {})},
            "store": {"directory": str(directory / "data")},
            **extra,
        }
        file = directory / "pronoia.yaml"
        file.write_text(json.dumps(config))
        self.pronoia: Pronoia = keep(Pronoia(directory / "pronoia", "--config", str(file), port=port))
        self.pronoia.start()

    @staticmethod
    def _configure(file: Path, more: dict[str, Any]) -> None:
        """Put what a test needs into Alertmanager's configuration."""
        config = json.loads(file.read_text())
        config["receivers"] += more.get("receivers", [])
        config["route"] |= {"routes": more.get("routes", []), **more.get("route", {})}
        config["inhibit_rules"] = more.get("inhibit_rules", [])
        file.write_text(json.dumps(config))

    def fire(
        self, n: int = 20, *, service: str = "shop", ended: bool = False, ago: float = 60.0, **labels: str
    ) -> None:
        now = time.time()
        ends = now - 1 if ended else now + 3600

        def stamp(at: float) -> str:
            return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))

        self.alertmanager.post(
            [
                {
                    "labels": {
                        "alertname": "ThingDown",
                        "instance": f"{service}-{i}",
                        "service": service,
                        **labels,
                    },
                    "annotations": {"summary": "it is down"},
                    "startsAt": stamp(now - ago),
                    "endsAt": stamp(ends),
                }
                for i in range(n)
            ]
        )

    def incidents(self) -> list[dict[str, Any]]:
        return list(get_json(self.pronoia.url + "/api/v1/incidents")["data"])

    def metric(self, line: str) -> float:
        page = http(self.pronoia.url + "/metrics")[1].decode()
        return next((float(row.rpartition(" ")[2]) for row in page.splitlines() if row.startswith(line)), 0.0)

    def act(self, action: str, incident_id: str, **body: str) -> tuple[int, bytes]:
        return http(
            f"{self.pronoia.url}/api/v1/incidents/{incident_id}/{action}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )

    def press(self, action: str, incident_id: str, *, secret: str = SIGNING_SECRET) -> int:
        payload = {
            "type": "block_actions",
            "user": {"id": "U1", "username": "ann"},
            "actions": [{"action_id": f"pronoia_{action}", "value": incident_id}],
        }
        body = urlencode({"payload": json.dumps(payload)}).encode()
        stamp = str(int(time.time()))
        signature = "v0=" + hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, "sha256").hexdigest()
        status, _ = http(
            self.pronoia.url + "/webhooks/slack/interactions",
            data=body,
            headers={
                "X-Slack-Request-Timestamp": stamp,
                "X-Slack-Signature": signature,
                "Content-Type": "application/x-www-form-urlencoded",
            },
        )
        return status


def test_each_channel_is_told_once_updated_and_resolved(tmp_path: Path, keep: Callable[..., Any]) -> None:
    bench = Bench(tmp_path, keep)
    bench.fire()
    wait_until(lambda: bench.slack.roots and bench.pager.events and bench.mail.mails, what="all are told")
    (incident,) = bench.incidents()
    assert bench.press("acknowledge", incident["incident_id"], secret="another") == 401
    assert bench.press("acknowledge", incident["incident_id"]) == 200
    wait_until(
        lambda: list(bench.pager.alerts.values()) == ["acknowledged"], what="acknowledged in PagerDuty"
    )
    wait_until(lambda: len(bench.slack.replies) == 1, what="told in the thread")
    response = get_json(f"{bench.pronoia.url}/api/v1/incidents/{incident['incident_id']}/response")["data"]
    assert (response["status"], response["response"]["acknowledged_by"]) == ("acknowledged", "slack:ann")
    page = http(f"{bench.pronoia.url}/incidents/{incident['incident_id']}")[1].decode()
    assert "slack:ann" in page
    assert "Give it back" in page
    bench.fire(ended=True)
    wait_until(lambda: list(bench.pager.alerts.values()) == ["resolved"], what="resolved in PagerDuty")
    wait_until(lambda: len(bench.slack.replies) == 2 and len(bench.mail.mails) == 3, what="the end is told")
    (root,) = bench.slack.roots
    assert "resolved: " in root["text"]
    assert not any(block["type"] == "actions" for block in root["attachments"][0]["blocks"])
    assert {reply["thread_ts"] for reply in bench.slack.replies} == {root["ts"]}
    assert bench.pager.pages == 1
    assert [event["event_action"] for event in bench.pager.events] == ["trigger", "acknowledge", "resolve"]
    first, *later = bench.mail.mails.values()
    assert all(mail["References"] == first["References"] for mail in later)


def test_what_people_do_in_pagerduty_is_done_here(tmp_path: Path, keep: Callable[..., Any]) -> None:
    # Whoever shows no credentials may only read; a signature is PagerDuty's own proof.
    bench = Bench(tmp_path, keep, server={"access": {"anonymous": "read"}})
    bench.fire()
    wait_until(lambda: bench.pager.alerts, what="paged")
    (incident,) = bench.incidents()

    def tell(kind: str, **said: Any) -> int:
        return bench.pager.tell(bench.pronoia.url, kind, **said)

    def response() -> tuple[str, str]:
        path = f"/api/v1/incidents/{incident['incident_id']}/response"
        shown = get_json(bench.pronoia.url + path)["data"]
        return shown["status"], (shown["response"] or {}).get("acknowledged_by", "")

    ann = {"type": "user_reference", "id": "P1", "summary": "Ann"}
    assert tell("acknowledged", agent=ann, secret="another") == 401
    assert tell("acknowledged", agent=ann) == 200
    assert response() == ("acknowledged", "pagerduty:Ann")
    # pronoia tells its targets, which PagerDuty tells of as what an integration did.
    wait_until(lambda: bench.pager.events[-1]["event_action"] == "acknowledge", what="the others are told")
    assert tell("acknowledged", agent={"type": "inbound_integration_reference", "id": "P2"}) == 200
    assert response() == ("acknowledged", "pagerduty:Ann")
    assert tell("resolved", agent=ann) == 200
    assert response()[0] == "mitigated"
    assert tell("reopened", agent=ann) == 200
    assert response()[0] == "open"
    assert bench.pager.pages == 1


def test_kill_9_around_a_delivery_neither_doubles_nor_loses_it(
    tmp_path: Path, keep: Callable[..., Any]
) -> None:
    bench = Bench(tmp_path, keep)
    plan = {"slack": ["before", "after"], "pager": ["before", "after"], "mail": ["recipient", "data", "kept"]}
    reached: dict[str, int] = dict.fromkeys(plan, 0)
    kills: list[int] = []

    def kill() -> None:
        bench.pronoia.kill()
        kills.append(1)

    # Killed when every channel has come to its first step, to its second, and mail to its third.
    rounds = [threading.Barrier(n, action=kill) for n in (3, 3, 1)]

    def at(name: str, step: str) -> bool:
        number = reached[name]
        if plan[name][number : number + 1] != [step]:
            return False
        reached[name] += 1
        rounds[number].wait(30.0)
        return True

    def hook(name: str, step: str) -> Callable[[str], Any]:
        def once(path: str) -> Any:
            sends = path.endswith(("chat.postMessage", "/v2/enqueue"))
            return (500, {}, {}) if sends and at(name, step) and step == "before" else None

        return once

    for name, server in (("slack", bench.slack), ("pager", bench.pager)):
        server.fault, server.after = hook(name, "before"), hook(name, "after")
    bench.mail.at = lambda step: at("mail", step) and step != "kept"
    bench.fire()

    def survived() -> bool:
        assert bench.pronoia.process is not None
        if bench.pronoia.process.poll() is not None:
            bench.pronoia.start(wait=False)
        everything = bench.slack.roots and bench.pager.events and bench.mail.mails
        return bool(everything) and len(kills) == 3

    wait_until(survived, timeout=80, what="killed at each step, and all are told")
    bench.pronoia.wait_healthy()
    bench.fire(ended=True)
    wait_until(lambda: list(bench.pager.alerts.values()) == ["resolved"], what="resolved in PagerDuty")
    wait_until(lambda: len(bench.slack.replies) == 1 and len(bench.mail.mails) == 2, what="the end is told")
    assert reached == {name: len(steps) for name, steps in plan.items()}
    assert (len(bench.slack.roots), bench.pager.pages) == (1, 1)
    opened, resolved = bench.mail.copies
    assert bench.mail.copies[opened] == 2, "SMTP cannot be asked what it has; the copy is the same mail"
    assert bench.mail.copies[resolved] == 1
    assert bench.metric('pronoia_notifications_total{result="repeated",target="mail"}') == 1.0


def test_wrong_credentials_fall_back_at_once_and_the_metric_tells(
    tmp_path: Path, keep: Callable[..., Any]
) -> None:
    slack, pager = keep(SlackServer()), keep(PagerDutyServer())
    bench = Bench(
        tmp_path,
        keep,
        targets=[
            {
                "name": "slack",
                "slack": {"token": "xoxb-revoked", "channel": slack.channel, "api_url": slack.url + "/api"},
                "min_priority": "P3",
                "fallback": "pager",
            },
            {"name": "pager", "pagerduty": {"routing_key": pager.routing_key, "api_url": pager.url}},
        ],
    )
    bench.fire()
    wait_until(lambda: pager.pages == 1, what="the fallback is told")
    assert bench.metric('pronoia_notifications_total{result="fallback",target="slack"}') == 1.0
    assert bench.metric('pronoia_notification_target_up{target="slack"}') == 0.0
    bench.fire(ended=True)
    wait_until(lambda: list(pager.alerts.values()) == ["resolved"], what="its end is told there too")
    assert (pager.pages, slack.roots) == (1, [])
