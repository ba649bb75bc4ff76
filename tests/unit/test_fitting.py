"""Fits run in another process, which comes again after it died."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
    until = time.monotonic() + 20
    while _runs(fits) and time.monotonic() < until:
        time.sleep(0.05)
    assert not _runs(fits)


def _runs(process: Path) -> bool:
    try:
        return (process / "stat").read_text().split()[2] != "Z"
    except OSError:
        return False
