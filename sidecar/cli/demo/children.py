"""The demo's child processes: started, watched, and surely gone at the end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from sidecar.errors import SidecarError

STOP_SECONDS = 8.0
"""After SIGTERM so long until SIGKILL; Prometheus writes its head in about a second."""

_PR_SET_PDEATHSIG = 1  # Linux, prctl(2): a signal for the child when its parent dies.


class ChildDied(SidecarError):
    """A server ended that should run; the message holds the end of its log."""

    reason = "child_died"


class Child:
    """One server process with a log file, in a process group of its own.

    A group of its own, because Ctrl-C in a terminal goes to the whole
    foreground group: the demo wants to stop its servers itself, in order.
    """

    def __init__(self, name: str, argv: Sequence[str], *, log: Path, url: str, health: str) -> None:
        self.name, self.argv, self.log, self.url = name, list(argv), log, url
        self._health = health
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. Call on the main thread: the child dies with the thread that made it."""
        _libc()  # Loaded before the fork: between fork and exec as little as possible may run.
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    @property
    def started(self) -> bool:
        """True once it was started, also when it has ended since."""
        return self._process is not None

    @property
    def returncode(self) -> int | None:
        """Its exit code, or None while it runs (or was never started)."""
        return self._process.poll() if self._process else None

    def check(self) -> None:
        """Raises: ChildDied, where it ended."""
        if self.returncode is not None:
            raise ChildDied(
                f"{self.name} ended with code {self.returncode}; the end of {self.log}:\n{self.tail()}"
            )

    def tail(self, n_lines: int = 12) -> str:
        """The last lines of its log, indented."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join("    " + line[:200] for line in text.splitlines()[-n_lines:])

    async def wait_healthy(self, session: aiohttp.ClientSession, timeout_seconds: float = 60.0) -> None:
        """Return when its health page answers 200. Raises: ChildDied, also when that takes too long."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.get(self.url + self._health) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)
        raise ChildDied(
            f"{self.name} did not become healthy in {timeout_seconds:.0f} s; "
            f"the end of {self.log}:\n{self.tail()}"
        )

    def stop(self) -> None:
        """Ask it to end (SIGTERM); `wait` sees to it."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_seconds: float) -> None:
        """Wait for its end, then take the whole group down by force."""
        if self._process is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(timeout_seconds, 0.0))
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # What it may have started itself, such as promtool, is in its group.
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def stop_all(children: Sequence[Child]) -> None:
    """Stop every child, the last started first; none survives this."""
    for child in reversed(children):
        child.stop()
    deadline = time.monotonic() + STOP_SECONDS
    for child in reversed(children):
        child.wait(deadline - time.monotonic())


def choose_port(preferred: int) -> int:
    """The preferred TCP port of loopback if nothing listens there, or else any free one."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            # A connection's TIME_WAIT is no listener: without this a second run would move away.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free TCP port on loopback")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


def _die_with_parent() -> None:
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
