"""Open files are as many as are allowed; where they run out, the log does not fill the disk as well."""

from __future__ import annotations

import asyncio
import resource
from unittest.mock import Mock

import pytest
from structlog.testing import capture_logs

from sidecar.app.open_files import ENOUGH, OUT_OF, LoopErrors, allow_open_files

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "raised"),
    [
        pytest.param((1024, 4096), (4096, 4096), id="as far as one may"),
        pytest.param((1024, 10**9), (ENOUGH, 10**9), id="enough is enough"),
        pytest.param((1024, INFINITE), (ENOUGH, INFINITE), id="no bound"),
        pytest.param((10**6, 10**6), None, id="more than enough already"),
        pytest.param((INFINITE, INFINITE), None, id="without limit"),
    ],
)
def test_the_limit_is_raised(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: tuple[int, int] | None
) -> None:
    said = Mock()
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", said)
    allow_open_files()
    assert [call.args[1] for call in said.call_args_list] == ([raised] if raised else [])


def test_a_limit_that_may_not_be_raised_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 100))
    monkeypatch.setattr(resource, "setrlimit", Mock(side_effect=ValueError("not allowed")))
    allow_open_files()


def test_running_out_is_told_once_a_minute_and_other_errors_each_time() -> None:
    now = 0.0
    tell = LoopErrors(lambda: now)
    loop = Mock(spec=asyncio.AbstractEventLoop)
    with capture_logs() as logs:
        for second in range(0, 120, 10):
            now = float(second)
            tell(loop, {"message": f"{OUT_OF}\nsocket: x", "exception": OSError(24, "Too many open files")})
        tell(loop, {"message": "another"})
        tell(loop, {"message": "another"})
    assert [entry["event"] for entry in logs] == ["no connection can be taken until others end"] * 2
    assert "Too many open files" in logs[0]["err"]
    assert loop.default_exception_handler.call_count == 2
