"""No alert that was acknowledged is lost, none is counted twice, whatever happens to the process."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sidecar.series import LabelSet
from tests.integration.conftest import wave_config
from tests.integration.servers import Alertmanager, Prometheus, Pronoia, free_port, get_json, http, wait_until

pytestmark = pytest.mark.integration

WEBHOOK = "/webhooks/alertmanager"


def payload(alerts: list[dict[str, str]]) -> bytes:
    """A v4 body that fires one alert for each label set."""
    return json.dumps(
        {
            "version": "4",
            "groupKey": '{}:{alertname="Burst"}',
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "pronoia",
            "groupLabels": {"alertname": "Burst"},
            "commonLabels": {},
            "commonAnnotations": {},
            "externalURL": "http://am",
            "alerts": [
                {
                    "status": "firing",
                    "labels": labels,
                    "annotations": {},
                    "startsAt": "2026-01-01T00:00:00Z",
                    "endsAt": "0001-01-01T00:00:00Z",
                    "generatorURL": "",
                    "fingerprint": LabelSet(labels).fingerprint(),
                }
                for labels in alerts
            ],
        }
    ).encode()


def stored_fingerprints(directory: Path) -> list[str]:
    """Every episode's fingerprint in the store, read from the outside."""
    (file,) = directory.glob("*.db")
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return [row[0] for row in connection.execute("select fingerprint from episodes")]
    finally:
        connection.close()


def test_killed_in_a_burst_every_acknowledged_alert_is_there_once(
    tmp_path: Path, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia]
) -> None:
    pronoia = make_pronoia(wave_config(prometheus.url, tmp_path))
    pronoia.start()
    acknowledged: set[str] = set()
    lock = threading.Lock()

    def send(worker: int) -> None:
        for i in range(400):
            labels = [
                {"alertname": "Burst", "worker": str(worker), "i": str(i), "n": str(n)} for n in range(5)
            ]
            try:
                status, _ = http(pronoia.url + WEBHOOK, data=payload(labels), timeout=5)
            except OSError:
                return  # The kill.
            if status == 200:
                with lock:
                    acknowledged.update(LabelSet(label).fingerprint() for label in labels)

    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(acknowledged) > 500, what="the burst is under way")
    pronoia.kill()
    for thread in threads:
        thread.join()

    pronoia.start()
    stored = stored_fingerprints(tmp_path / "data")
    assert acknowledged <= set(stored), "acknowledged, then lost"
    assert len(stored) == len(set(stored)), "one alert, two episodes"


@pytest.mark.parametrize("small_disk", [4096], indirect=True)
def test_a_full_disk_is_503_and_then_forgotten(
    prometheus: Prometheus, make_pronoia: Callable[..., Pronoia], small_disk: Path
) -> None:
    pronoia = make_pronoia(wave_config(prometheus.url, small_disk))
    pronoia.start()
    filler = small_disk / "filler"
    with contextlib.suppress(OSError):  # As much as there is room for.
        filler.write_bytes(b"x" * (4096 * 1024))
    acknowledged: set[str] = set()
    answers: list[int] = []
    for i in range(200):
        labels = [{"alertname": "Full", "i": str(i), "n": str(n), "pad": "x" * 200} for n in range(20)]
        status, words = http(pronoia.url + WEBHOOK, data=payload(labels))
        answers.append(status)
        if status == 200:
            acknowledged.update(LabelSet(label).fingerprint() for label in labels)
        else:
            assert b"store_full" in words or b"store" in words
            break
    assert answers[-1] == 503, "the disk is full and nobody noticed"
    assert http(pronoia.url + "/-/healthy")[0] == 200
    filler.unlink()
    late = {"alertname": "Late"}
    wait_until(
        lambda: http(pronoia.url + WEBHOOK, data=payload([late]))[0] == 200, what="room again, 200 again"
    )
    acknowledged.add(LabelSet(late).fingerprint())
    pronoia.kill()
    pronoia.start()
    assert acknowledged <= set(stored_fingerprints(small_disk / "data"))


def test_the_same_group_fifty_times_is_one_episode(
    tmp_path: Path, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia], keep: Callable[..., Any]
) -> None:
    """A proxy hands a real Alertmanager's request on, answers 503, and repeats it 50 times."""
    pronoia = make_pronoia(wave_config(prometheus.url, tmp_path))
    pronoia.start()
    bodies: list[bytes] = []
    answers: list[int] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append(body)
            answers.append(http(pronoia.url + WEBHOOK, data=body)[0])
            self.send_response(503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    port = free_port()
    proxy = ThreadingHTTPServer(("127.0.0.1", port), Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        alertmanager: Alertmanager = keep(
            Alertmanager(tmp_path / "am", webhook=f"http://127.0.0.1:{port}/", group_interval="1m")
        )
        alertmanager.start()
        alertmanager.post([{"labels": {"alertname": "Retried", "job": "x"}, "annotations": {"summary": "s"}}])
        wait_until(lambda: len(bodies) >= 3, timeout=30, what="Alertmanager retries after 503")
        answers.extend(http(pronoia.url + WEBHOOK, data=bodies[0])[0] for _ in range(50))
    finally:
        proxy.shutdown()
        proxy.server_close()
    assert set(answers) == {200}
    assert (
        stored_fingerprints(tmp_path / "data").count(
            LabelSet({"alertname": "Retried", "job": "x"}).fingerprint()
        )
        == 1
    )
    incidents = wait_until(
        lambda: get_json(pronoia.url + "/api/v1/incidents")["data"], what="the alert became an incident"
    )
    assert len(incidents) == 1


def test_a_rule_fires_and_becomes_an_incident_end_to_end(
    tmp_path: Path, keep: Callable[..., Any], make_pronoia: Callable[..., Pronoia]
) -> None:
    port = free_port()
    alertmanager: Alertmanager = keep(
        Alertmanager(
            tmp_path / "am", webhook=f"http://127.0.0.1:{port}{WEBHOOK}", group_wait="1s", group_interval="1s"
        )
    )
    alertmanager.start()
    prometheus: Prometheus = keep(Prometheus(tmp_path / "prometheus", alertmanager=alertmanager.url))
    rule = {
        "alert": "AlwaysOn",
        "expr": "vector(1)",
        "labels": {"service": "shop"},
        "annotations": {"summary": "it is on"},
    }
    rules = prometheus.rules / "own.yaml"
    rules.write_text(json.dumps({"groups": [{"name": "own", "rules": [rule]}]}))
    prometheus.start()
    document = wave_config(prometheus.url, tmp_path, alertmanagers=[{"url": alertmanager.url}])
    pronoia = make_pronoia(document, port=port)
    pronoia.start()
    reach = wait_until(
        lambda: get_json(pronoia.url + "/health/alertmanagers")["data"]["versions"],
        what="Alertmanager reached",
    )
    assert reach[alertmanager.url].startswith("0.")
    (incident,) = wait_until(
        lambda: get_json(pronoia.url + "/api/v1/incidents")["data"], timeout=40, what="an incident"
    )
    assert incident["state"] == "open"
    assert incident["causes"][0]["service"] == "shop"
    over = {**rule, "expr": "vector(0) > 1"}
    rules.write_text(json.dumps({"groups": [{"name": "own", "rules": [over]}]}))
    assert http(prometheus.url + "/-/reload", data=b"")[0] == 200
    wait_until(
        lambda: get_json(pronoia.url + "/api/v1/incidents")["data"][0]["state"] == "resolved",
        timeout=40,
        what="the incident is resolved",
    )
