"""Kernels are warmed in a thread, told of when it takes long, and waited for by nobody."""

from __future__ import annotations

import asyncio
import threading

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from sidecar.loop import warming
from sidecar.loop.warming import Warming, judge_once


async def finished(one: Warming) -> None:
    async with asyncio.timeout(20):
        while one.under_way:
            await asyncio.sleep(0.01)


async def test_it_says_that_it_compiles_and_when_that_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warming, "TELL_AFTER_SECONDS", 0.0)
    registry, go_on = CollectorRegistry(), threading.Event()

    def slow() -> None:
        go_on.wait(20)

    one = Warming([slow], registry=registry)
    assert not one.under_way
    with capture_logs() as logs:
        one.start()
        async with asyncio.timeout(20):
            while not logs:
                await asyncio.sleep(0.01)
        assert one.under_way
        assert registry.get_sample_value("pronoia_warming_up") == 1
        go_on.set()
        await finished(one)
        await asyncio.sleep(0)
    assert [entry["event"] for entry in logs] == [
        "compiling for this machine, once; first scores wait for it",
        "kernels are ready",
    ]
    assert registry.get_sample_value("pronoia_warming_up") == 0


async def test_a_kernel_that_cannot_be_compiled_is_told_and_ends_it() -> None:
    def broken() -> None:
        raise RuntimeError("cannot cache function")

    one = Warming([broken], registry=CollectorRegistry())
    with capture_logs() as logs:
        one.start()
        await finished(one)
    assert "a kernel cannot be compiled" in [entry["event"] for entry in logs]


async def test_a_stop_does_not_wait_for_a_compilation_and_begins_no_other() -> None:
    go_on, begun, others = threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        go_on.wait(20)

    one = Warming([slow, lambda: others.append(1)], registry=CollectorRegistry())
    one.start()
    await asyncio.to_thread(begun.wait, 20)
    async with asyncio.timeout(5):
        await one.stop()
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "pronoia-warm":
            await asyncio.to_thread(thread.join, 20)
    assert others == []


def test_a_model_of_noise_is_judged() -> None:
    judge_once()
