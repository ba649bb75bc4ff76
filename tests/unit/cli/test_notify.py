"""`pronoia notify`: what is shown, and a test that is really sent."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sidecar.cli.main import main
from sidecar.cli.notify import _tell
from sidecar.config.load import load_text

TEMPLATE = "{{ incident.priority }} {{ incident.title }} ({{ status }})"


class Receiver(ThreadingHTTPServer):
    """Takes what is posted, or answers with another status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.posted: list[dict[str, Any]] = []
        self.answers = threading.Event()
        self.answers.set()


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.server.answers.wait(20)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing of it."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def written(folder: Path, receiver: Receiver) -> Path:
    """A configuration with that one target."""
    target = {
        "name": "ops",
        "url": f"http://127.0.0.1:{receiver.server_port}/hook?token=geheim",
        "template": {"title": TEMPLATE},
    }
    config = folder / "pronoia.yaml"
    config.write_text(json.dumps({"notify": {"targets": [target]}}))
    return config


def notify(folder: Path, receiver: Receiver, *arguments: str) -> Result:
    config = written(folder, receiver)
    return CliRunner().invoke(main, ["notify", *arguments, "--config", str(config)])


def test_a_test_is_told_and_told_to_be_over(tmp_path: Path, receiver: Receiver) -> None:
    result = notify(tmp_path, receiver, "test", "--target", "ops", "--wait", "0s")
    assert result.exit_code == 0, result.output
    begun, over = receiver.posted
    assert (begun["kind"], over["kind"]) == ("opened", "resolved")
    assert begun["title"] == "P3 test of pronoia, nothing is wrong (open)", "by the target's template"
    assert over["title"] in result.output
    assert begun["incident"]["incident_id"] == over["incident"]["incident_id"]
    assert begun["idempotency_key"] != over["idempotency_key"]
    assert over["incident"]["ended_at"]


@pytest.mark.parametrize("answered", [True, False], ids=["while it is open", "before the target answered"])
async def test_an_interrupted_test_is_told_to_be_over_all_the_same(
    tmp_path: Path, receiver: Receiver, capsys: pytest.CaptureFixture[str], answered: bool
) -> None:
    config = load_text(written(tmp_path, receiver).read_text())
    if not answered:
        receiver.answers.clear()
    test = asyncio.create_task(_tell(config, config.notify.targets[0], 3600.0))
    async with asyncio.timeout(20):
        while not (capsys.readouterr().out if answered else receiver.posted):
            await asyncio.sleep(0.01)
        test.cancel()
        await asyncio.sleep(0.05)
        receiver.answers.set()
        with pytest.raises(asyncio.CancelledError):
            await test
    assert [one["kind"] for one in receiver.posted] == ["opened", "resolved"]


def test_a_refused_test_is_an_error_without_the_secret(tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 403
    result = notify(tmp_path, receiver, "test", "--target", "ops")
    assert result.exit_code == 1
    assert "ops: http://127.0.0.1" in result.output
    assert "status 403" in result.output
    assert "geheim" not in result.output
    assert len(receiver.posted) == 1


def test_of_a_target_that_is_not_there_no_tls_is_told(tmp_path: Path, receiver: Receiver) -> None:
    receiver.shutdown()
    receiver.server_close()
    result = notify(tmp_path, receiver, "test", "--target", "ops")
    assert result.exit_code == 1
    assert "Cannot connect" in result.output
    assert "ssl" not in result.output


def test_an_unknown_target_is_named_with_those_that_are_known(tmp_path: Path, receiver: Receiver) -> None:
    for command in ("test", "preview"):
        result = notify(tmp_path, receiver, command, "--target", "op")
        assert result.exit_code == 2
        assert "configured: ops" in result.output
    wrong = notify(tmp_path, receiver, "test", "--target", "ops", "--wait", "soon")
    assert wrong.exit_code == 2
    assert "--wait" in wrong.output
    assert not receiver.posted


def test_a_preview_sends_nothing(tmp_path: Path, receiver: Receiver) -> None:
    shown = notify(tmp_path, receiver, "preview", "--target", "ops", "--format", "json")
    assert shown.exit_code == 0
    assert json.loads(shown.output)["title"] == "P1 cart-db: DatabaseDown, CartErrors (open)"
    assert not receiver.posted


def test_without_a_configuration_it_is_said_how_to_name_one() -> None:
    result = CliRunner().invoke(main, ["notify", "preview", "--target", "ops-slack"])
    assert result.exit_code == 2
    assert "configured: none; give --config" in result.output
