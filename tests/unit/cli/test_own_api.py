"""Commands that ask a running pronoia: what they say, and what they keep, where something else answers."""

from __future__ import annotations

import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.cli.main import main
from sidecar.store.connection import FILE


def http(status: str, body: str) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()


@pytest.fixture
def answering(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a server that gives the same bytes to everyone."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(request.param)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


STRANGE = "answers, but not as pronoia does"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize(
    ("answering", "words"),
    [
        pytest.param(http("200 OK", "<html>login</html>"), STRANGE, id="web page"),
        pytest.param(http("200 OK", "[1]"), STRANGE, id="list"),
        pytest.param(http("200 OK", '{"status": "success"}'), STRANGE, id="no data"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", STRANGE, id="no HTTP"),
        pytest.param(http("404 Not Found", "404 page not found"), "answered 404; is it pronoia's", id="404"),
    ],
    indirect=["answering"],
)
def test_another_program_at_the_address_is_named(answering: str, words: str) -> None:
    result = run("explain", "--at", answering)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"pronoia: {answering} {words}")


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute("create table dead_letters (id integer, tenant text, reason text, raw blob)")
        database.execute("insert into dead_letters values (1, 'default', 'odd', ?)", (b"{}",))
        database.commit()
    return tmp_path


@pytest.mark.parametrize(
    ("answering", "kept"),
    [
        pytest.param(http("200 OK", '{"status": "success", "data": null}'), 1, id="another API"),
        pytest.param(http("200 OK", "[]"), 1, id="list"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", 1, id="no HTTP"),
        pytest.param(http("503 Service Unavailable", ""), 1, id="away"),
        pytest.param(
            http("200 OK", '{"alerts": 0, "dead_letters": 1}'), 0, id="pronoia, which keeps it anew"
        ),
    ],
    indirect=["answering"],
)
def test_a_dead_letter_that_pronoia_did_not_take_is_kept(letters: Path, answering: str, kept: int) -> None:
    result = run("alerts", "replay", "--data", letters, "--to", answering)
    assert result.exit_code == 1
    assert result.stdout.endswith("0 of 1 dead letters were taken\n")
    with closing(sqlite3.connect(letters / FILE)) as database:
        assert database.execute("select count(*) from dead_letters").fetchone() == (kept,)


@pytest.mark.parametrize("content", [b"", b"no database" * 100], ids=["without tables", "another file"])
def test_a_database_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    result = run("alerts", "replay", "--data", tmp_path, "--dry-run")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"pronoia: {tmp_path / FILE}: ")


def test_an_address_without_a_scheme_is_wrong_use(letters: Path) -> None:
    result = run("alerts", "replay", "--data", letters, "--to", "localhost:9469")
    assert result.exit_code == 2
    assert "write http://host:9469" in result.stderr


def test_what_may_be_left_out_is_shown_so() -> None:
    assert "INCIDENT_ID [DURATION]" in run("incidents", "silence", "--help").stdout
    assert "INCIDENT_ID TEXT" in run("incidents", "comment", "--help").stdout
