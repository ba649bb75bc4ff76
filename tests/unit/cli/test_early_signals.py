"""A signal that comes while a command is being loaded ends it at once, whatever is being imported."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

LOADING = """
import importlib, sys, time
from sidecar.cli.main import main

def deaf(*_):
    told = False
    while True:
        try:
            if not told:
                told = True
                print("loading", flush=True)
            time.sleep(0.01)
        except BaseException:
            pass  # As an import does that swallows what it meets.

where, command = sys.argv[1:]
if where == "the body":
    import sidecar.cli.run
    sidecar.cli.run.read_config = deaf
else:
    importlib.import_module = deaf
main([command])
"""


@pytest.mark.parametrize(
    ("where", "command", "number", "code"),
    [
        pytest.param("the module", "run", signal.SIGTERM, 0, id="a roll-out that is taken back at once"),
        pytest.param("the body", "run", signal.SIGTERM, 0, id="the same, a moment later"),
        pytest.param("the module", "score", signal.SIGINT, 1, id="Ctrl-C"),
        pytest.param("the module", "score", signal.SIGTERM, -signal.SIGTERM, id="only the sidecar serves"),
    ],
)
def test_a_signal_while_loading(where: str, command: str, number: int, code: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", LOADING, where, command], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process, process.stdout as told:
        try:
            assert told.readline() == b"loading\n"
            process.send_signal(number)
            assert process.wait(30) == code
        finally:
            process.kill()
