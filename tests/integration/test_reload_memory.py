"""A reload gives back what the loops before it held: the models of every query."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import wave_config
from tests.integration.servers import free_port

pytestmark = pytest.mark.integration

RELOADED = """
import asyncio, gc, sys, weakref
from pathlib import Path
from sidecar.app.process import Sidecar
from sidecar.config.load import load_file

async def main():
    config = load_file(Path(sys.argv[1]), env={})
    sidecar = Sidecar(config, load=lambda: config)
    running = asyncio.create_task(sidecar.run())
    await asyncio.sleep(0)
    await sidecar.reload()
    loop = sidecar._workings.metrics_loop
    while not loop.errors:  # Nothing is under way in a thread any more.
        await asyncio.sleep(0.01)
    held = [weakref.ref(loop), weakref.ref(loop.watches[0])]
    del loop
    await sidecar.reload()
    while not sidecar._workings.metrics_loop.watches:
        await asyncio.sleep(0.01)
    for _ in range(200):  # A thread, or an error's traceback, may still lead to them for a moment.
        gc.collect()
        if not any(one() for one in held):
            break
        await asyncio.sleep(0.05)
    print("left:", [one() for one in held if one() is not None])
    sidecar.stop()
    await running

asyncio.run(main())
"""


def test_what_a_reload_replaces_is_gone(tmp_path: Path) -> None:
    script, config = tmp_path / "reloaded.py", tmp_path / "pronoia.yaml"
    script.write_text(RELOADED)
    document = wave_config("http://127.0.0.1:1", tmp_path, server={"listen": f"127.0.0.1:{free_port()}"})
    config.write_text(json.dumps(document))
    done = subprocess.run(
        [sys.executable, str(script), str(config)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "left: []\n" in done.stdout, done.stdout + done.stderr
