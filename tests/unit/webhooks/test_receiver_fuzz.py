"""Whatever bytes are posted, the answer is 2xx with the good alerts stored, 4xx with a reason, or 503."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.webhooks.deliveries import ZERO, alert, body
from tests.unit.webhooks.test_receiver import Served, served
from webhooks.intake.receiver import EVENTS_PATH, PATH

SECONDS = 20.0
serial = count()

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["firing", "resolved", "4", ZERO, "2026-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "\0"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["status", "labels", "startsAt", "endsAt", "fingerprint", "alertname", "annotations"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)


class Server:
    """A receiver over a real store on a thread of its own, and a connection to it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.served: Served

    async def _serve(self) -> None:
        async with served(self._directory) as self.served:
            self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
            self._up.set()
            await self._over.wait()

    def __enter__(self) -> Server:
        self._thread.start()
        assert self._up.wait(SECONDS)
        port = int(self.served.url.split(":")[2].split("/")[0])
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(SECONDS)

    def post(self, data: bytes, path: str = PATH) -> tuple[int, bytes]:
        """The answer; one that does not come in time is an exception."""
        self._connection.request("POST", path, body=data)
        response = self._connection.getresponse()
        return response.status, response.read()

    def knows(self, name: str) -> bool:
        episodes = self.served.loop.intake.memory.episodes
        return any(one.labels.get("alertname") == name for one in list(episodes.values()))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


def checked(answer: tuple[int, bytes]) -> int:
    """The status of an answer that says what it must."""
    status, words = answer
    assert status in (200, 400, 413, 503), (status, words)
    if status != 200:
        assert 0 < len(words) < 200
    return status


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A body with some of its bytes changed, left out or repeated."""
    data = bytearray(body(alert("Whole"), alert("Other", i="1"), receiver="r\\.x", truncatedAlerts=1))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        gone = draw(st.integers(0, 3))
        data[at : at + gone] = draw(
            st.binary(max_size=3) | st.sampled_from([b"\xff", b"[" * 200, b"\\ud800", b"1e999"])
        )
    return bytes(data)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60) | json_values.map(json.dumps).map(str.encode) | damaged())
def test_any_bytes_have_an_answer(server: Server, data: bytes) -> None:
    checked(server.post(data))
    checked(server.post(data, EVENTS_PATH))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    odd=st.lists(json_values, max_size=3),
    fields=st.dictionaries(st.sampled_from(["receiver", "groupKey", "x"]), json_values),
)
def test_a_good_alert_beside_odd_ones_is_stored_and_the_answer_says_so(
    server: Server, odd: list[Any], fields: dict[str, Any]
) -> None:
    name = f"Good{next(serial)}"
    status, words = server.post(body(*odd, alert(name), *odd, **fields))
    if b"NaN" in body(*odd, **fields) or b"Infinity" in body(*odd, **fields):
        assert status in (200, 400)  # That is no JSON.
        return
    assert status == 200, words
    told = json.loads(words)
    assert told["alerts"] + told["dead_letters"] == 2 * len(odd) + 1
    assert server.knows(name)


def test_deep_nesting_is_refused_and_the_next_is_taken(server: Server) -> None:
    assert checked(server.post(b"[" * 100_000, EVENTS_PATH)) == 400
    for deep in (b"[" * 100_000, b'{"version":"4","alerts":[' + b'{"labels":' * 50_000):
        assert checked(server.post(deep)) == 400
    assert checked(server.post(body(alert("After")))) == 200
    assert server.knows("After")


def test_a_big_body_of_odd_alerts_keeps_the_good_one(server: Server) -> None:
    name = f"Good{next(serial)}"
    status, words = server.post(body(*[0] * 400_000, alert(name)))
    assert status == 200, words
    assert json.loads(words) == {"status": "ok", "alerts": 1, "dead_letters": 10_001}
    assert server.knows(name)
