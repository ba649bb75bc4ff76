"""Logs are structured and hold no secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from sidecar.telemetry import configure_logs, get_logger, new_registry, redact_url


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_have_fields_and_no_credentials(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "json")
    get_logger("client").info("pull broke off", url="http://bob:secret@prom:9090/x")
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "pull broke off"
    assert line["component"] == "client"
    assert line["url"] == "http://***@prom:9090/x"
    assert line["level"] == "info"


def test_levels_hold(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("warning", "json")
    get_logger("x").info("not shown")
    logging.getLogger("other").warning("shown")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["shown"]


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("http://a:b@h/x", "http://***@h/x"),
        ("see https://tok@h and http://h2", "see https://***@h and http://h2"),
        ("mail me@example.org", "mail me@example.org"),
    ],
)
def test_redaction(text: str, redacted: str) -> None:
    assert redact_url(text) == redacted


def test_registries_are_separate() -> None:
    assert new_registry() is not new_registry()
