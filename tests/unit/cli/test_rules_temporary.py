"""A Prometheus for a replay: who stops waiting for its history leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import pytest

from sidecar.cli import rules_temporary
from sidecar.cli.rules_temporary import temporary_prometheus


async def test_stopped_amid_its_history_neither_promtool_nor_folder_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, promtool = tmp_path / "pid", tmp_path / "promtool"
    promtool.write_text(f"#!/bin/sh\necho $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 60\n")
    promtool.chmod(0o755)
    (tmp_path / "made").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "made"))
    monkeypatch.setattr(rules_temporary, "find_all", lambda: {"promtool": str(promtool), "prometheus": ""})
    monkeypatch.setattr(rules_temporary, "missing", lambda: [])

    async def replay() -> None:
        async with temporary_prometheus(["# EOF\n"]):
            raise AssertionError("there is none")

    task = asyncio.create_task(replay())
    async with asyncio.timeout(20):
        while not pid.exists():
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
    assert not list((tmp_path / "made").iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
