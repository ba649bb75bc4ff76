"""What of a server that answers oddly is said by `pronoia explore`, in one line and without a traceback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sidecar.config.model import SourceConfig
from sidecar.errors import PullError
from sidecar.prometheus.explore import range_frame


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        answer = (200, b"")

        def do_GET(self) -> None:
            status, body = type(self).answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True).start()
        yield served
        served.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        pytest.param(200, b'{"status":"success","data":null}', "not an answer of the query API", id="null"),
        pytest.param(200, b"[1]", "not an answer of the query API", id="another API"),
        pytest.param(
            200,
            b'{"data":{"result":[{"metric":5,"values":"x"}]}}',
            "not an answer of the query API",
            id="odd series",
        ),
        pytest.param(200, b"<html>", "not an answer of the query API", id="web page"),
        pytest.param(500, b"boom", "500 boom", id="its own error"),
        pytest.param(400, b'{"error":"parse\\n\\u001b[31m"}', "400 parse [31m", id="its words on a line"),
    ],
)
def test_an_odd_answer_is_said_in_a_line(
    server: ThreadingHTTPServer, status: int, body: bytes, words: str
) -> None:
    server.RequestHandlerClass.answer = (status, body)  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{server.server_port}"
    with pytest.raises(PullError) as caught:
        explored(url)
    assert str(caught.value) == f"{url}: {words}"


def test_a_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with pytest.raises(PullError, match="connection refused"):
        explored(url)


def explored(url: str) -> object:
    config = SourceConfig(url=url)
    return range_frame(config, "up", start_seconds=0, end_seconds=60, step_seconds=60, max_series=5)
