"""The demo's processes: none survives it, whatever ends it, and an early death is told with its log."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from sidecar.cli.demo.children import Child, ChildDied, stop_all
from tests.integration.servers import wait_until

pytestmark = pytest.mark.integration

STUBBORN = (
    "import signal, subprocess, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "grandchild = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "print(grandchild.pid, flush=True)\n"
    "time.sleep(60)\n"
)


def child(tmp_path: Path, program: str, name: str = "server") -> Child:
    argv = [sys.executable, "-c", program]
    return Child(name, argv, log=tmp_path / f"{name}.log", url="http://127.0.0.1:9", health="/")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_an_early_death_shows_the_end_of_the_log(tmp_path: Path) -> None:
    dying = child(tmp_path, "print('no room on disk'); raise SystemExit(3)")
    dying.start()
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ChildDied, match=r"server ended with code 3(.|\n)*no room on disk"):
            await dying.wait_healthy(session, 20)
    stop_all([dying])


async def test_one_that_never_answers_is_given_up(tmp_path: Path) -> None:
    silent = child(tmp_path, "import time; time.sleep(60)")
    silent.start()
    try:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(ChildDied, match="did not become healthy"):
                await silent.wait_healthy(session, 0.3)
    finally:
        stop_all([silent])
    assert silent.returncode is not None


def test_the_stubborn_and_what_they_started_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sidecar.cli.demo.children.STOP_SECONDS", 0.5)
    stubborn = child(tmp_path, STUBBORN)
    stubborn.start()
    pid = int(wait_until(lambda: stubborn.log.read_text().strip(), what="its child's number"))
    assert alive(pid)
    stop_all([stubborn])
    assert stubborn.returncode is not None
    wait_until(lambda: not alive(pid), what="the end of the grandchild")


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_children_die_with_a_demo_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from sidecar.cli.demo.children import Child\n"
        "log = Path(sys.argv[1])\n"
        "argv = [sys.executable, '-c', 'import os, time; print(os.getpid(), flush=True); time.sleep(60)']\n"
        "Child('server', argv, log=log, url='', health='').start()\n"
        "time.sleep(60)\n"
    )
    log = tmp_path / "server.log"
    parent = subprocess.Popen([sys.executable, "-c", program, str(log)], cwd=os.getcwd())
    try:
        pid = int(wait_until(lambda: log.exists() and log.read_text().strip(), what="the child's number"))
        assert alive(pid)
    finally:
        parent.kill()
        parent.wait()
    wait_until(lambda: not alive(pid), what="the end of the child")
