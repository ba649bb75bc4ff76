"""Work in a thread is waited for, and is left where nobody waits any more."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from sidecar.cli.left_alone import in_thread


async def test_result_and_failure_are_the_work_s() -> None:
    assert await in_thread(max, 3, 5) == 5
    with pytest.raises(ValueError, match="invalid literal"):
        await in_thread(int, "x")


async def test_what_nobody_waits_for_disturbs_nobody() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(in_thread(pow, 7, 2_000_000), 0.0)
    assert await in_thread(max, 3, 5) == 5


def test_an_interrupt_ends_the_process_amid_the_work() -> None:
    program = (
        "import asyncio, threading\n"
        "from sidecar.cli.left_alone import in_thread\n"
        "def work():\n"
        "    print('begun', flush=True)\n"
        "    threading.Event().wait()\n"
        "asyncio.run(in_thread(work))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert process.returncode == -signal.SIGINT
