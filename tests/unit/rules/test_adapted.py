"""A rewrite, or a shadow, that a killed process began: known, and undone by whoever comes next."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from rules.adapt.adapted import AdaptedRules
from rules.adapt.canary import canary_path
from rules.adapt.change import Change
from rules.adapt.place_file import FilePlace
from rules.drift import drift_of_place
from rules.publisher import Found
from rules.read import read_text
from sidecar.config.model import StoreConfig
from sidecar.errors import PullError, PullReason, RuleError, RuleReason
from sidecar.prometheus.answers import Rule
from sidecar.store.sqlite import SqliteStore

BEFORE = "groups: [{name: own, rules: [{alert: Load, expr: load > 5}]}]\n"
AFTER = BEFORE.replace("5", "6")
TIMEOUT = 10.0


class Hanging:
    """A Prometheus that answers no reload, until it is well again."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.well = self.refuses = False

    async def reload(self) -> None:
        self.asked.set()
        if self.refuses:
            raise PullError(PullReason.UNREACHABLE, "no")
        if not self.well:
            await asyncio.Event().wait()

    async def rules(self) -> list[Rule]:
        return []


class Killed:
    """What a process leaves that was killed between writing and seeing its rewrite loaded."""

    def __init__(self, store: SqliteStore, file: Path) -> None:
        self.store, self.file, self.now, self.server = store, file, 1_700_000_000.0, Hanging()
        self.rules = AdaptedRules(
            self.server,
            store,
            lambda group: FilePlace.of(group, needs_reload=True),
            promtool="promtool",
            verify_timeout_seconds=TIMEOUT,
            now=lambda: self.now,
        )
        self.group = FilePlace(file).group

    @property
    def change(self) -> Change:
        (old,) = read_text(BEFORE)
        return Change(self.group, BEFORE, AFTER, [(old, replace(old, expr="load > 6"))], {}, "ada")

    async def die_in(self, work: Coroutine[object, object, object]) -> None:
        self.file.write_text(BEFORE)
        writing = asyncio.create_task(work)
        await self.server.asked.wait()
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await writing
        self.server.well = True

    async def states(self) -> list[str]:
        return [
            one.state
            for state in ("begun", "undone", "live", "canary")
            for one in await self.rules.of_state(state)
        ]


@pytest.fixture
async def alive(tmp_path: Path) -> AsyncIterator[Killed]:
    store = await SqliteStore.open(StoreConfig(directory=tmp_path / "data"), registry=CollectorRegistry())
    yield Killed(store, tmp_path / "own.yaml")
    await store.close()


@pytest.fixture
async def killed(alive: Killed) -> Killed:
    await alive.die_in(alive.rules.publish(alive.change))
    assert alive.file.read_text() == AFTER
    return alive


@pytest.fixture
async def shadowing(alive: Killed) -> Killed:
    await alive.die_in(alive.rules.shadow(alive.change, seconds=3600))
    assert canary_path(alive.file).exists()
    return alive


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


async def test_a_shadow_that_was_begun_is_removed_once_it_is_surely_over(shadowing: Killed) -> None:
    await shadowing.rules.recover()
    assert await shadowing.states() == ["begun"], "it may be another process at work"
    shadowing.now += 3 * TIMEOUT
    await shadowing.rules.recover()
    assert await shadowing.states() == ["undone"]
    assert not canary_path(shadowing.file).exists()
    assert shadowing.file.read_text() == BEFORE


async def test_a_roll_back_removes_a_shadow_that_was_begun(shadowing: Killed) -> None:
    await shadowing.rules.undo(shadowing.group, "by hand")
    assert await shadowing.states() == ["undone"]
    assert not canary_path(shadowing.file).exists()
    assert shadowing.file.read_text() == BEFORE


async def test_a_shadow_that_does_not_load_is_undone(alive: Killed) -> None:
    alive.file.write_text(BEFORE)
    alive.server.refuses = True
    with pytest.raises(RuleError):
        await alive.rules.shadow(alive.change, seconds=3600)
    assert await alive.states() == ["undone"]
    assert not canary_path(alive.file).exists()


@pytest.mark.parametrize("what", ["publish", "shadow"])
async def test_what_was_begun_is_drift(alive: Killed, what: str) -> None:
    work = (
        alive.rules.publish(alive.change)
        if what == "publish"
        else alive.rules.shadow(alive.change, seconds=9)
    )
    await alive.die_in(work)
    (begun,) = await alive.rules.of_state("begun")
    found = await drift_of_place(begun, FilePlace(alive.file), [])
    assert (found.state, found.in_place, found.loaded, found.fine) == ("begun", Found.SAME, False, False)


async def test_a_roll_back_that_is_not_loaded_says_what_is_done_and_goes_on_when_asked_again(
    killed: Killed,
) -> None:
    (begun,) = await killed.rules.of_state("begun")
    await killed.store.put_revision(msgspec.structs.replace(begun, state="live"))
    killed.server.refuses = True
    with pytest.raises(RuleError, match=r"own\.yaml is written, and Prometheus does not load it .*again"):
        await killed.rules.take_back(killed.group, "by hand")
    assert (killed.file.read_text(), await killed.states()) == (BEFORE, ["live"])
    killed.server.refuses = False
    assert (await killed.rules.take_back(killed.group, "by hand")).state == "rolled_back"
    assert (killed.file.read_text(), await killed.states()) == (BEFORE, [])


async def test_a_later_shadow_outlives_the_end_of_one_that_was_begun(shadowing: Killed) -> None:
    (begun,) = await shadowing.rules.of_state("begun")
    later = msgspec.structs.replace(begun, revision_id="later", state="canary")
    await shadowing.store.put_revision(later)
    shadowing.now += 3 * TIMEOUT
    await shadowing.rules.recover()
    assert await shadowing.states() == ["undone", "canary"]
    assert canary_path(shadowing.file).exists()


class Deaf(FilePlace):
    """A place that takes one text, and then answers no more until it is well."""

    well = False
    n_writes = 0

    async def write(self, text: str | None, *, expected: str | None) -> None:
        if type(self).n_writes and not type(self).well:
            raise RuleError(RuleReason.UNREACHABLE, "no answer")
        type(self).n_writes += 1
        await super().write(text, expected=expected)


@pytest.fixture
def deaf(alive: Killed, monkeypatch: pytest.MonkeyPatch) -> Killed:
    monkeypatch.setattr(Deaf, "n_writes", 0)
    monkeypatch.setattr(Deaf, "well", False)
    monkeypatch.setattr(alive.rules, "_place_of", lambda group: Deaf.of(group, needs_reload=True))
    alive.server.refuses = True
    alive.file.write_text(BEFORE)
    return alive


async def test_what_could_not_be_put_back_is_begun_still_and_undone_later(
    deaf: Killed, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RuleError, match=r"reload refused.*cannot be put back: no answer"):
        await deaf.rules.publish(deaf.change)
    assert deaf.file.read_text() == AFTER
    assert await deaf.states() == ["begun"], "else an unproven rule would stay, and nobody know of it"
    monkeypatch.setattr(Deaf, "well", True)
    deaf.server.refuses, deaf.server.well = False, True
    deaf.now += 3 * TIMEOUT
    await deaf.rules.recover()
    assert deaf.file.read_text() == BEFORE
    assert await deaf.states() == ["undone"]


async def test_one_place_that_takes_nothing_does_not_keep_others_from_being_undone(
    deaf: Killed, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        file = tmp_path / f"{name}.yaml"
        file.write_text(BEFORE)
        Deaf.n_writes = 0
        with pytest.raises(RuleError, match="no answer"):
            await deaf.rules.publish(replace(deaf.change, group=FilePlace(file).group))
    (tmp_path / "one.yaml").write_text("groups: []\n")
    deaf.now += 3 * TIMEOUT
    with pytest.raises(RuleError, match="no answer"):
        await deaf.rules.recover()
    assert await deaf.states() == ["begun", "undone"]


async def test_an_answer_that_got_lost_leaves_no_rewrite_behind(
    alive: Killed, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Losing(FilePlace):
        async def write(self, text: str | None, *, expected: str | None) -> None:
            await super().write(text, expected=expected)
            if text == AFTER:
                raise RuleError(RuleReason.CONFLICT, "another version is there: our own")

    alive.server.well = True
    alive.file.write_text(BEFORE)
    monkeypatch.setattr(alive.rules, "_place_of", lambda group: Losing.of(group, needs_reload=True))
    with pytest.raises(RuleError, match="our own"):
        await alive.rules.publish(alive.change)
    assert alive.file.read_text() == BEFORE
    assert await alive.states() == ["undone"]


async def test_what_went_well_the_second_time_is_not_undone_for_the_first(
    killed: Killed, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed.file.write_text(BEFORE)
    change = killed.change

    async def loaded() -> list[Rule]:
        (rule,) = read_text(AFTER)
        return [
            Rule(
                name=rule.name,
                expr=rule.expr,
                kind="alerting",
                group=rule.group,
                file=str(killed.file),
                health="ok",
                last_error="",
                state="inactive",
                duration_seconds=0,
                labels={},
                annotations={},
            )
        ]

    monkeypatch.setattr(killed.server, "rules", loaded)
    killed.now += 1
    await killed.rules.publish(change)
    killed.now += 3 * TIMEOUT
    await killed.rules.recover()
    assert killed.file.read_text() == AFTER
    assert await killed.states() == ["undone", "live"]
