"""SIGTERM ends the process in time, whoever holds its database, and loses nothing that was acknowledged."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sidecar.series import LabelSet
from tests.integration.conftest import wave_config
from tests.integration.servers import Prometheus, Pronoia, http, wait_until
from tests.integration.test_faults_alerts import WEBHOOK, payload, stored_fingerprints

pytestmark = pytest.mark.integration

GRACE_SECONDS = 12.0
"""Kubernetes kills after 30; the design aims at 10, and the machine may be busy."""


def test_a_foreign_lock_on_the_database_does_not_hold_up_the_stop(
    tmp_path: Path, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia]
) -> None:
    pronoia = make_pronoia(wave_config(prometheus.url, tmp_path))
    pronoia.start()
    acknowledged: set[str] = set()

    def send(worker: int) -> None:
        for i in range(10_000):
            labels = {"alertname": "Burst", "worker": str(worker), "i": str(i)}
            try:
                status, _ = http(pronoia.url + WEBHOOK, data=payload([labels]), timeout=30)
            except OSError:
                return  # It has ended.
            if status == 200:
                acknowledged.add(LabelSet(labels).fingerprint())

    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(acknowledged) > 20, what="alerts are acknowledged")
    (file,) = (tmp_path / "data").glob("*.db")
    foreign = sqlite3.connect(file, isolation_level=None, timeout=30)
    foreign.execute("begin immediate")
    try:
        seconds = pronoia.stop(timeout=60)
    finally:
        foreign.execute("rollback")
        foreign.close()
    for thread in threads:
        thread.join()
    assert pronoia.process is not None
    assert pronoia.process.returncode == 0
    assert seconds < GRACE_SECONDS
    stored = stored_fingerprints(tmp_path / "data")
    assert acknowledged <= set(stored), "acknowledged, then lost"
    assert len(stored) == len(set(stored)), "one alert, two episodes"


HANGING = """
import threading, time
from sidecar.app.deadline import exit_in_time
from sidecar.fitting import FitProcess

def main():
    child = FitProcess()
    child.submit(time.sleep, 60)
    threading.Thread(target=time.sleep, args=(60,)).start()
    (process,) = child._pool._processes.values()
    print(process.pid, flush=True)
    exit_in_time(0.5)

if __name__ == "__main__":
    main()
"""
"""A process that Python would let run on for a minute: for a thread, and for a fit in its process."""


def test_what_hangs_in_threads_and_processes_is_cut(tmp_path: Path) -> None:
    script = tmp_path / "hanging.py"
    script.write_text(HANGING)
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=50, check=True
    )
    assert time.monotonic() - began < 30
    assert "not all has ended in time" in done.stdout + done.stderr
    pid = int(done.stdout.split()[0])
    wait_until(lambda: _is_gone(pid), timeout=10, what="the fit's process has ended")


def _is_gone(pid: int) -> bool:
    """Whether nothing runs there; a zombie, which only its parent's parent can bury, does not."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


LOADING = """
import threading, time
from sidecar.app.deadline import leave
from sidecar.loop.warming import THREAD

class Ordered:
    def __del__(self): print("in order")

kept = Ordered()
if {loading}:
    threading.Thread(target=time.sleep, args=(60,), name=THREAD, daemon=True).start()
leave(3)
"""


@pytest.mark.parametrize(
    ("loading", "said"),
    [pytest.param(True, "", id="a kernel loads"), pytest.param(False, "in order\n", id="nothing loads")],
)
def test_python_is_not_ended_in_order_while_a_kernel_loads(loading: bool, said: str) -> None:
    argv = [sys.executable, "-c", LOADING.replace("{loading}", str(loading))]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (3, said)
