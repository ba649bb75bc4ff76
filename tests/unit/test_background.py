"""Loops that are begun, woken and ended."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from sidecar.background import Background, woken


async def test_a_loop_runs_until_it_is_stopped() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def loop() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    background = Background("test")
    assert not background.started
    await background.stop()
    background.start(loop())
    async with asyncio.timeout(5):
        await begun.wait()
    await background.stop()
    assert background.started
    assert ended.is_set()


async def test_a_loop_that_broke_off_can_be_stopped() -> None:
    async def loop() -> None:
        raise ValueError("broke off")

    background = Background("test")
    with capture_logs() as logs:
        background.start(loop())
        await asyncio.sleep(0)
        await background.stop()
        await asyncio.sleep(0)  # From Python 3.12 on nobody waits for what is done already.
    assert [(entry["log_level"], entry["component"]) for entry in logs] == [("error", "test")]


@pytest.mark.parametrize(("is_set", "seconds"), [(True, 5.0), (False, 0.0)], ids=["set", "time over"])
async def test_what_woke_is_said_and_unset(is_set: bool, seconds: float) -> None:
    wake = asyncio.Event()
    if is_set:
        wake.set()
    assert await woken(wake, seconds) is is_set
    assert not wake.is_set()
