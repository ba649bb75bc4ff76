"""Fits run in another process, which comes again after it died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import pytest

from sidecar import fitting
from sidecar.fitting import NICENESS, FitProcess


def test_it_is_another_process_that_yields_and_comes_again() -> None:
    process = FitProcess()
    process.shutdown()  # Nothing began, nothing ends.
    try:
        first = process.submit(os.getpid).result(60)
        assert first != os.getpid()
        assert process.submit(os.nice, 0).result(60) >= NICENESS
        with pytest.raises(Exception, match="process"):
            process.submit(os._exit, 1).result(60)
        assert process.submit(os.getpid).result(60) != first
    finally:
        process.shutdown()


def test_two_that_learn_at_once_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Slow:
        def __init__(self, *_: object, **__: object) -> None:
            time.sleep(0.05)
            made.append(self)

        def submit(self, *_: object) -> Future[None]:
            return Future()

    monkeypatch.setattr(fitting, "ProcessPoolExecutor", Slow)
    process = FitProcess()
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda _: process.submit(os.getpid), range(2)))
    assert len(made) == 1


def test_fits_that_wait_for_one_another_all_end_and_so_does_a_process_that_had_enough_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fitting, "FITS_A_PROCESS", 3)
    process = FitProcess()
    try:
        (first,) = {fit.result(20) for fit in [process.submit(os.getpid) for _ in range(4)]}
        assert _ends(Path("/proc") / str(first))
        assert process.submit(os.getpid).result(20) != first
    finally:
        process.cut()


def test_it_is_prepared_first_whenever_it_begins() -> None:
    process = FitProcess(partial(os.umask, 0o27))
    try:
        assert process.submit(os.umask, 0).result(60) == 0o27
    finally:
        process.cut()


def test_what_ends_the_sidecar_breaks_off_no_fit_before_the_sidecar_does() -> None:
    process = FitProcess()
    pid = process.submit(os.getpid).result(60)
    fit = process.submit(time.sleep, 60)
    for number in (signal.SIGINT, signal.SIGTERM):  # A terminal's, and systemd's, to every process.
        os.kill(pid, number)
    with pytest.raises(TimeoutError):
        fit.result(0.1)
    process.cut()
    with pytest.raises(BrokenProcessPool):
        fit.result(20)
    assert _ends(Path("/proc") / str(pid))


def test_it_ends_with_a_sidecar_that_is_killed() -> None:
    program = (
        "import os, signal\n"
        "from sidecar.fitting import FitProcess\n"
        "if __name__ == '__main__':\n"
        "    print(FitProcess().submit(os.getpid).result(60), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60).stdout
    fits = Path("/proc") / told.decode().strip()
    assert _ends(fits)


def _ends(process: Path) -> bool:
    until = time.monotonic() + 20
    while _runs(process) and time.monotonic() < until:
        time.sleep(0.05)
    return not _runs(process)


def _runs(process: Path) -> bool:
    try:
        return (process / "stat").read_text().split()[2] != "Z"
    except OSError:
        return False
