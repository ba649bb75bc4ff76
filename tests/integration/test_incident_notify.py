"""A rule fires for 200 instances on a real Prometheus: one incident, one message a channel, its end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.integration.channels import MailServer, PagerDutyServer, SlackServer
from tests.integration.servers import Alertmanager, Prometheus, Pronoia, free_port, get_json, http, wait_until

pytestmark = pytest.mark.integration

N = 200


class Instances:
    """A page of 200 instances that are well or not, and a target that keeps what it is told."""

    def __init__(self) -> None:
        self.broken = 0
        self.told: list[dict[str, Any]] = []

    def page(self) -> bytes:
        lines = [
            f'thing_up{{instance="shop-{i}:80",service="shop"}} {int(i >= self.broken)}' for i in range(N)
        ]
        return ("# TYPE thing_up gauge\n" + "\n".join(lines) + "\n").encode()


def past_hour() -> str:
    """The instances while they were well, as OpenMetrics: without a past there is no picture."""
    now = int(time.time()) // 60 * 60
    lines = [
        f'thing_up{{instance="shop-{i}:80",job="things",service="shop"}} 1 {now - 60 * minute}'
        for i in range(N)
        for minute in range(62, 1, -1)
    ]
    return "# TYPE thing_up gauge\n" + "\n".join(lines) + "\n# EOF\n"


@contextmanager
def serving(instances: Instances) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(instances.page())

        def do_POST(self) -> None:
            instances.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("n_alertmanagers", "middle"),
    [
        pytest.param(1, "", id="one Alertmanager"),
        pytest.param(2, "pronoia is killed", id="a pair, and kill -9 in the middle"),
        pytest.param(1, "alertmanager is killed", id="Alertmanager killed and started in the middle"),
    ],
)
def test_200_instances_are_one_incident_and_one_message(
    tmp_path: Path, keep: Callable[..., Any], n_alertmanagers: int, middle: str
) -> None:
    instances = Instances()
    with serving(instances) as things:
        port = free_port()
        hook = f"http://127.0.0.1:{port}/webhooks/alertmanager"
        peers: list[Alertmanager] = [
            keep(Alertmanager(tmp_path / f"am{i}", webhook=hook)) for i in range(n_alertmanagers)
        ]
        for peer in peers:
            peer.start()
        prometheus: Prometheus = keep(
            Prometheus(
                tmp_path / "prometheus",
                scrape=[
                    {
                        "job_name": "things",
                        "honor_labels": True,
                        "static_configs": [{"targets": [f"127.0.0.1:{things}"]}],
                    }
                ],
            )
        )
        if not middle:
            prometheus.backfill(past_hour())
        settings = json.loads(prometheus.config.read_text())
        targets = [peer.url.removeprefix("http://") for peer in peers]
        settings["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": targets}]}]}
        prometheus.config.write_text(json.dumps(settings))
        rule = {
            "alert": "ThingDown",
            "expr": "thing_up == 0",
            "labels": {"severity": "critical"},
            "annotations": {
                "summary": "{{ $labels.instance }} is down",
                "runbook_url": "https://r.example/down",
            },
        }
        (prometheus.rules / "own.yaml").write_text(json.dumps({"groups": [{"name": "own", "rules": [rule]}]}))
        prometheus.start()
        slack, pager, mail = keep(SlackServer()), keep(PagerDutyServer()), keep(MailServer())
        config = {
            "prometheus": {"url": prometheus.url},
            "queries": [{"name": "broken", "expr": "sum(thing_up == 0)"}],
            "enrichment": {
                "timeout": "5s",
                "queries": [
                    {"name": "down", "expr": 'count(thing_up{service="{{ service }}"} == 0)'},
                ],
                "links": [{"name": "Dashboard", "url": "https://g.example/d?service={{ service }}"}],
            },
            "alertmanagers": [{"url": peer.url} for peer in peers],
            "webhook": {"incident_hold": "3s", "reconcile_interval": "2s"},
            "notify": {
                "targets": [
                    {"name": "desk", "url": f"http://127.0.0.1:{things}/", "min_priority": "P3"},
                    *(channel.target() for channel in (slack, pager, mail)),
                ]
            },
            "store": {"directory": str(tmp_path / "data")},
        }
        file = tmp_path / "pronoia.yaml"
        file.write_text(json.dumps(config))
        pronoia: Pronoia = keep(Pronoia(tmp_path / "pronoia", "--config", str(file), port=port))
        pronoia.start()

        def incidents() -> list[dict[str, Any]]:
            return list(get_json(pronoia.url + "/api/v1/incidents")["data"])

        instances.broken = N
        wait_until(lambda: sum(i["n_firing"] for i in incidents()) == N, timeout=60, what="all have arrived")
        if middle:
            hit = peers[0] if middle.startswith("alertmanager") else pronoia
            hit.kill()
            hit.start()
        wait_until(lambda: instances.told, timeout=60, what="somebody is told")
        (incident,) = incidents()
        assert (incident["n_episodes"], incident["causes"][0]["service"]) == (N, "shop")
        wait_until(
            lambda: slack.roots and pager.pages and mail.mails, timeout=30, what="each channel is told"
        )
        taken = f"{pronoia.url}/api/v1/incidents/{incident['incident_id']}/acknowledge"
        assert http(taken, data=b'{"by": "ann"}', headers={"Content-Type": "application/json"})[0] == 200
        wait_until(
            lambda: list(pager.alerts.values()) == ["acknowledged"], timeout=30, what="the page is updated"
        )
        wait_until(lambda: len(mail.mails) == 2 and slack.replies, timeout=30, what="and the others")
        instances.broken = 0
        wait_until(lambda: [i["state"] for i in incidents()] == ["resolved"], timeout=60, what="it is over")
        wait_until(lambda: len(instances.told) > 2, timeout=30, what="its end is told")
        first = instances.told[0]
        if not middle:
            # A process that has just begun tells at once, and does not wait for whom it could ask.
            assert 0 < float(first["incident"]["values"]["down"]) <= N
        assert (first["links"]["Runbook"], first["links"]["Dashboard"]) == (
            "https://r.example/down",
            "https://g.example/d?service=shop",
        )
        kinds = [message["kind"] for message in instances.told]
        assert kinds == ["opened", "acknowledged", "resolved"]
        assert len({message["idempotency_key"] for message in instances.told}) == 3
        wait_until(
            lambda: len(mail.mails) == 3 and len(slack.replies) == 2,
            timeout=30,
            what="each channel has its end",
        )
        wait_until(lambda: list(pager.alerts.values()) == ["resolved"], timeout=30, what="the page is over")
        assert (len(slack.roots), len(slack.replies), pager.pages) == (1, 2, 1)
        assert [event["event_action"] for event in pager.events] == ["trigger", "acknowledge", "resolve"]
        assert "resolved: " in slack.roots[0]["text"]
        if not middle:
            ((thread, shown),) = slack.pictures
            assert (thread, shown[:4]) == (slack.roots[0]["ts"], b"\x89PNG")
            attached = [[part.get_content_type() for part in m.walk()] for m in mail.mails.values()]
            assert ["image/png" in parts for parts in attached] == [True, False, False]
