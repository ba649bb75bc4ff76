"""Nobody waits a minute at a terminal for a server that takes connections and never answers."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli import reach
from sidecar.cli.main import main


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(reach, "PATIENCE_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("init", id="init"),
        pytest.param("explore --query up", id="explore"),
        pytest.param("forecast --query up", id="forecast"),
    ],
)
def test_a_command_ends_soon_with_the_reason(silent: str, command: str, tmp_path: Path) -> None:
    argv = [*command.split(), "--prometheus", silent]
    if command == "init":
        argv += ["--out", str(tmp_path / "pronoia.yaml")]
    began = time.monotonic()
    done = CliRunner().invoke(main, argv)
    assert time.monotonic() - began < 10
    assert done.exit_code == 1
    assert "no answer within 0.1 s" in done.output
