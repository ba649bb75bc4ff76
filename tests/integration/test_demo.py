"""`pronoia demo` as a newcomer runs it: the whole story on real servers, and nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.servers import wait_until

pytestmark = pytest.mark.integration

FIRST_SCORE_BUDGET_SECONDS = 90.0

BEGINNING = (
    "history back-filled",
    "pronoia is up",
    "history learned",
    "first scores",
    "DiskAlmostFull is likely to fire within",
    "adaptive rule written, checked by promtool, loaded by Prometheus",
)
REST = (
    "the demo breaks something",
    "anomaly: ",
    "adaptive rule fires",
    "Alertmanager delivers",
    "probable cause: cdn",
    "resolved",
)


class Demo:
    """The command in a session of its own, as a terminal would have it."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.data = directory / "demo"
        self.out = directory / "story.txt"
        argv = [sys.executable, "-m", "sidecar", "demo", "--data", str(self.data), *arguments]
        with self.out.open("wb") as sink:
            self.process = subprocess.Popen(argv, stdout=sink, stderr=subprocess.STDOUT, process_group=0)

    def text(self) -> str:
        return self.out.read_text(errors="replace")

    def told(self, words: str) -> float | None:
        """Seconds at which a line with these words was told."""
        found = re.search(rf"^\s*([0-9.]+) s  .*{re.escape(words)}", self.text(), re.MULTILINE)
        return float(found.group(1)) if found else None

    def wait_told(self, words: str, timeout: float) -> float:
        def seen() -> float | None:
            if self.process.poll() not in (None, 0):
                raise RuntimeError(f"the demo ended with {self.process.returncode}:\n{self.text()}")
            return self.told(words)

        return float(wait_until(seen, timeout=timeout, every=0.5, what=f"{words!r}; so far:\n{self.text()}"))

    def processes(self) -> list[str]:
        """Names of whatever still runs with its output in this demo's folder: all its servers do."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "fd" / "1").startswith(str(self.data)):
                    found.append((process / "comm").read_text().strip())
            except OSError:
                continue
        return found


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    running: list[Demo] = []
    yield running
    for demo in running:
        if demo.process.poll() is None:
            demo.process.send_signal(signal.SIGTERM)
            demo.process.wait(20)


@pytest.mark.timeout(200)
def test_ctrl_c_ends_it_all_even_while_it_learns(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, "--no-incident")
    demos.append(demo)
    demo.wait_told("pronoia is up", 120)
    assert len(demo.processes()) >= 4
    os.killpg(demo.process.pid, signal.SIGINT)  # Ctrl-C goes to the whole foreground group.
    assert demo.process.wait(20) == 0
    assert demo.processes() == []
    assert demo.text().rstrip().splitlines()[-1].startswith(f"All stopped. What is left is {demo.data}")
    assert [entry.name for entry in tmp_path.iterdir() if entry != demo.out] == ["demo"]
    assert "Traceback" not in demo.text()


@pytest.mark.timeout(480)
def test_the_whole_story(tmp_path: Path, demos: list[Demo]) -> None:
    demo = Demo(tmp_path, "--once", "--incident-after", "20", "--incident-seconds", "75", "--duration", "420")
    demos.append(demo)
    assert demo.process.wait(440) == 0, demo.text()
    seconds = [demo.told(words) for words in (*BEGINNING, *REST)]
    assert None not in seconds, demo.text()
    assert (demo.told("first scores") or 1e9) < FIRST_SCORE_BUDGET_SECONDS
    lines = demo.text().splitlines()
    assert len(lines) <= 26, demo.text()
    assert max(len(line) for line in lines if re.match(r" *[0-9.]+ s  ", line)) <= 110
    assert all("http://" in see or "cat " in see for see in lines[2:-1:2]), demo.text()
    assert demo.processes() == []
