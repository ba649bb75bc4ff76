"""Start and stop of the process: until `/-/healthy` answers, and until SIGTERM is obeyed."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.table import Row, show
from tests.integration.servers import Pronoia, stopping

START_SECONDS, STOP_SECONDS = 2.0, 5.0


def run(quick: bool = False) -> list[Row]:
    """Start and stop the sidecar a few times, a bare interpreter with aiohttp beside it."""
    starts, stops, bare = [], [], []
    for _ in range(2 if quick else 5):
        with tempfile.TemporaryDirectory() as directory:
            server = Pronoia(Path(directory), "--prometheus", "http://127.0.0.1:1", "--data", directory)
            with stopping(server):
                began = time.perf_counter()
                server.start()
                starts.append(time.perf_counter() - began)
                stops.append(server.stop())
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import aiohttp.web"], check=True)
        bare.append(time.perf_counter() - began)
    start, stop, import_only = (float(np.median(seconds)) for seconds in (starts, stops, bare))
    beside = f"{import_only:.2f} s (python importing aiohttp)"
    return [
        Row(
            "start to healthy", f"{start:.2f} s", beside, start / import_only, "< 2 s", start < START_SECONDS
        ),
        Row("SIGTERM to gone", f"{stop:.2f} s", "", None, "< 5 s", stop < STOP_SECONDS),
    ]


if __name__ == "__main__":
    show("start", run())
