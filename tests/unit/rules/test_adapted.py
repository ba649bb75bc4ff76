"""A rewrite that a killed process began: known, and undone by whoever comes next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from rules.adapt.adapted import AdaptedRules
from rules.adapt.change import Change
from rules.adapt.place_file import FilePlace
from rules.read import read_text
from sidecar.config.model import StoreConfig
from sidecar.prometheus.answers import Rule
from sidecar.store.sqlite import SqliteStore

BEFORE = "groups: [{name: own, rules: [{alert: Load, expr: load > 5}]}]\n"
AFTER = BEFORE.replace("5", "6")
TIMEOUT = 10.0


class Hanging:
    """A Prometheus that answers no reload, until it is well again."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.well = False

    async def reload(self) -> None:
        self.asked.set()
        if not self.well:
            await asyncio.Event().wait()

    async def rules(self) -> list[Rule]:
        return []


class Killed:
    """What a process leaves that was killed between writing and seeing its rewrite loaded."""

    def __init__(self, store: SqliteStore, file: Path) -> None:
        self.file, self.now, self.server = file, 1_700_000_000.0, Hanging()
        self.rules = AdaptedRules(
            self.server,
            store,
            lambda group: FilePlace.of(group, needs_reload=True),
            promtool="promtool",
            verify_timeout_seconds=TIMEOUT,
            now=lambda: self.now,
        )
        self.group = FilePlace(file).group

    async def die(self) -> None:
        self.file.write_text(BEFORE)
        (old,) = read_text(BEFORE)
        change = Change(self.group, BEFORE, AFTER, [(old, replace(old, expr="load > 6"))], {}, "ada")
        writing = asyncio.create_task(self.rules.publish(change))
        await self.server.asked.wait()
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
        assert self.file.read_text() == AFTER
        self.server.well = True

    async def states(self) -> list[str]:
        return [
            one.state for state in ("begun", "undone", "live") for one in await self.rules.of_state(state)
        ]


@pytest.fixture
async def killed(tmp_path: Path) -> AsyncIterator[Killed]:
    store = await SqliteStore.open(StoreConfig(directory=tmp_path / "data"), registry=CollectorRegistry())
    found = Killed(store, tmp_path / "own.yaml")
    await found.die()
    yield found
    await store.close()


async def test_what_was_begun_is_undone_once_it_is_surely_over(killed: Killed) -> None:
    await killed.rules.recover()
    assert await killed.states() == ["begun"], "it may be another process at work"
    killed.now += 3 * TIMEOUT
    await killed.rules.recover()
    assert await killed.states() == ["undone"]
    assert killed.file.read_text() == BEFORE


async def test_what_people_wrote_since_stays(killed: Killed) -> None:
    killed.file.write_text(AFTER + "# mine\n")
    killed.now += 3 * TIMEOUT
    await killed.rules.recover()
    assert await killed.states() == ["undone"]
    assert killed.file.read_text() == AFTER + "# mine\n"


async def test_a_roll_back_undoes_it_at_once(killed: Killed) -> None:
    await killed.rules.undo(killed.group, "by hand")
    assert await killed.states() == ["undone"]
    assert killed.file.read_text() == BEFORE
