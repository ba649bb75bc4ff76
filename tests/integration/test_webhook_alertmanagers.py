"""What real Alertmanagers send, two at once or after refusals, is one episode from firing to resolved."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers import Alertmanager, Pronoia, get_json, http, wait_until

pytestmark = pytest.mark.integration

WEBHOOK = "/webhooks/alertmanager"


@pytest.fixture
def pronoia(tmp_path: Path, keep: Callable[..., Any]) -> Pronoia:
    """A sidecar that has no Prometheus: the alerts loop stands on its own."""
    data = str(tmp_path / "data")
    server: Pronoia = keep(
        Pronoia(tmp_path / "pronoia", "--prometheus", "http://127.0.0.1:1", "--data", data)
    )
    server.start()
    return server


def rows(tmp_path: Path, sql: str) -> list[tuple[Any, ...]]:
    """What the store holds, read from the outside."""
    (file,) = (tmp_path / "data").glob("*.db")
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def fired(name: str, began: datetime, *, ended: datetime | None = None) -> dict[str, Any]:
    alert = {
        "labels": {"alertname": name, "service": "shop", "empty": ""},
        "annotations": {"summary": "a < b & c"},
        "startsAt": began.isoformat(),
    }
    return {**alert, "endsAt": ended.isoformat()} if ended else alert


def test_two_alertmanagers_that_send_the_same_are_one_source(
    tmp_path: Path, pronoia: Pronoia, keep: Callable[..., Any]
) -> None:
    peers = [keep(Alertmanager(tmp_path / name, webhook=pronoia.url + WEBHOOK)) for name in ("am0", "am1")]
    began = datetime.now(UTC) - timedelta(minutes=5)
    for peer in peers:
        peer.start()
        peer.post([fired("Shared", began)])
    wait_until(
        lambda: len(rows(tmp_path, "select distinct external_url from deliveries")) == 2,
        what="both have delivered",
    )
    assert rows(tmp_path, "select state, ends_at_ns from episodes") == [("firing", None)]
    for peer in peers:
        peer.post([fired("Shared", began, ended=datetime.now(UTC))])
    wait_until(
        lambda: len(rows(tmp_path, "select 1 from deliveries where n_alerts = 1")) >= 4,
        what="both have told of the end",
    )
    ((state, starts_at_ns, ends_at_ns, labels),) = rows(
        tmp_path, "select state, starts_at_ns, ends_at_ns, labels from episodes"
    )
    assert state == "resolved"
    assert abs(starts_at_ns - began.timestamp() * 1e9) < 1e6
    assert ends_at_ns > starts_at_ns
    assert "empty" not in labels
    (incident,) = wait_until(
        lambda: [i for i in get_json(pronoia.url + "/api/v1/incidents")["data"] if i["state"] == "resolved"],
        what="the incident is over",
    )
    assert (incident["n_episodes"], incident["n_firing"]) == (1, 0)


@contextmanager
def refusing_first(target: str, refusals: int) -> Iterator[tuple[str, list[int]]]:
    """A proxy that answers 503 so many times before it hands anything on; its URL and its answers."""
    answers: list[int] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answers.append(503 if len(answers) < refusals else http(target, data=body)[0])
            self.send_response(answers[-1])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}/", answers
    finally:
        proxy.shutdown()
        proxy.server_close()


def test_what_was_refused_with_503_is_sent_again_and_kept_once(
    tmp_path: Path, pronoia: Pronoia, keep: Callable[..., Any]
) -> None:
    with refusing_first(pronoia.url + WEBHOOK, refusals=2) as (url, answers):
        alertmanager = keep(Alertmanager(tmp_path / "am", webhook=url, group_interval="30s"))
        alertmanager.start()
        alertmanager.post([fired("Patient", datetime.now(UTC))])
        wait_until(lambda: 200 in answers, timeout=40, what="Alertmanager tries until it is taken")
    assert answers[:3] == [503, 503, 200]
    assert rows(tmp_path, "select state from episodes") == [("firing",)]
