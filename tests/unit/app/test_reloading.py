"""Who asks for a reload that takes long is told what it waits for, and it goes on."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.app.reloading import Reloads
from sidecar.errors import ConfigError, ConfigProblem


async def test_a_reload_that_waits_is_answered_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Amid the first compilation it took forty seconds, in which nobody was told anything."""
    monkeypatch.setattr("sidecar.app.reloading.PATIENCE_SECONDS", 0.01)
    compiled, done = asyncio.Event(), []

    async def reload() -> None:
        await compiled.wait()
        done.append(True)

    reloads = Reloads(reload, lambda: "what is compiled")
    assert await reloads.ask() == "what is compiled"
    reloads.begin()
    await asyncio.sleep(0.05)
    assert capsys.readouterr().out.count("the reload goes on, and waits") == 2
    compiled.set()
    assert await reloads.ask() == ""
    assert len(done) == 3


async def test_a_configuration_that_cannot_be_used_is_told_of_at_once() -> None:
    async def reload() -> None:
        raise ConfigError([ConfigProblem("log.levle", "unknown")], "pronoia.yaml")

    reloads = Reloads(reload, lambda: "")
    with pytest.raises(ConfigError, match="levle"):
        await reloads.ask()
    reloads.begin()
    await asyncio.sleep(0.01)
