"""Generated rules on bad nights: hand edits at odd moments, a neighbour's broken file, clocks, kills."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from rules.document import RuleFile
from rules.live import LiveWatch
from sidecar.config.model import StoreConfig
from sidecar.errors import RuleError, RuleReason, StoreError
from tests.unit.rules.loop_bench import DAY, QUERIES, Bench, Dying, Loud


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Dying]:
    found = await Dying.open(StoreConfig(directory=tmp_path / "data"), registry=CollectorRegistry())
    assert isinstance(found, Dying)
    yield found
    await found.close()


@pytest.fixture
def bench(tmp_path: Path, store: Dying) -> Bench:
    return Bench(tmp_path / "rules", store)


@pytest.fixture
def careful(tmp_path: Path, store: Dying) -> Bench:
    return Bench(tmp_path / "rules", store, canary=600)


def edit(file: Path) -> str:
    """As people do: a number, while the revision's name stays."""
    text = file.read_text().replace("severity: warning", "severity: critical")
    file.write_text(text)
    return text


async def test_stopped_amid_the_first_file_those_that_wait_their_turn_are_not_begun(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading = asyncio.Event()

    async def never() -> None:
        loading.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(bench.server, "reload", never)
    run = asyncio.create_task(bench.run())
    await loading.wait()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        gc.collect()
    assert [str(one.message) for one in told] == []


async def test_a_loud_file_that_was_edited_by_hand_is_kept_and_others_are_taken_back(
    bench: Bench,
) -> None:
    assert await bench.run() == {"errors": "ok", "waits": "ok"}
    edited = edit(bench.file("errors"))
    await bench.server.reload()
    bench.now += DAY
    await bench.watch()
    assert bench.file("errors").read_text() == edited
    assert await bench.states("errors") == ["live"]
    assert await bench.states("waits") == ["rolled_back"]
    with pytest.raises(RuleError, match="edited by hand"):
        await bench.loop.rollback("pronoia-errors")
    assert bench.file("errors").read_text() == edited


async def test_an_alert_of_peoples_own_with_that_name_is_no_reason_to_take_a_group_back(bench: Bench) -> None:
    await bench.run()
    bench.now += DAY
    await bench.watch(Loud(unless='generator="pronoia"'))
    assert await bench.states("errors") == ["live"]


async def test_a_shadow_that_did_well_does_not_replace_what_was_edited_meanwhile(careful: Bench) -> None:
    await careful.run()
    for _ in range(2):
        careful.now += 601
        await LiveWatch(
            careful.loop.reviser, careful.server, source=None, max_firing_ratio=3, now=lambda: careful.now
        ).look()
        assert "live" in await careful.states("errors")
        if careful.level == 10.0:
            careful.level = 30.0
            await careful.run()
            assert await careful.states("errors") == ["live", "canary"]
            edited = edit(careful.file("errors"))
    assert careful.file("errors").read_text() == edited
    assert await careful.states("errors") == ["live", "canary"]
    assert await careful.states("waits") == ["superseded", "live"]


async def test_a_shadow_that_another_file_kept_from_loading_is_tried_again(
    careful: Bench,
) -> None:
    careful.server.refuse_reload = "a neighbour's file is broken"
    assert await careful.run() == {"errors": "reload_failed", "waits": "reload_failed"}
    careful.server.refuse_reload = None
    assert await careful.run() == {"errors": "ok", "waits": "ok"}
    assert await careful.states("errors") == ["canary"]


async def test_a_folder_that_prometheus_does_not_load_is_tried_until_it_does(
    tmp_path: Path, store: Dying, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All weekend long, and the log of revisions tells of it once."""
    monkeypatch.setattr("rules.publish.POLL_SECONDS", 0.01)
    bench = Bench(tmp_path / "rules", store, canary=600, verify_timeout=0.01)
    bench.server.blind = True
    for _ in range(2):
        assert set((await bench.run()).values()) == {"not_loaded"}
    assert await bench.states("errors") == ["rejected"]
    bench.server.blind = False
    assert set((await bench.run()).values()) == {"ok"}
    assert await bench.states("errors") == ["canary"]


async def test_a_fault_that_lasts_does_not_hide_what_is_live(bench: Bench) -> None:
    await bench.run()
    bench.level, bench.server.refuse_reload = 30.0, "a neighbour's file is broken"
    for _ in range(2):
        await bench.run()
    assert await bench.states("errors") == ["live", "rejected"]


async def test_a_clock_that_was_set_back_takes_nothing_back(bench: Bench) -> None:
    await bench.run()
    bench.now -= 400 * DAY
    await bench.watch()
    assert await bench.states("errors") == ["live"]


async def test_killed_before_the_new_one_is_noted_the_old_rule_is_there_still(bench: Bench) -> None:
    await bench.run()
    text = bench.file("errors").read_text()
    bench.level, bench.store.dies = 30.0, True
    with pytest.raises(StoreError):
        await bench.run()
    assert bench.file("errors").read_text() != text
    bench.store.dies = False
    await bench.loop.recover()
    assert bench.file("errors").read_text() == text
    assert await bench.states("errors") == ["live", "rejected"]


async def test_with_its_volume_gone_what_is_live_is_back_before_another_is_tried(careful: Bench) -> None:
    await careful.run()
    careful.now += 601
    reviser = careful.loop.reviser
    await LiveWatch(reviser, careful.server, source=None, max_firing_ratio=3, now=lambda: careful.now).look()
    live, careful.level = careful.file("errors").read_text(), 30.0
    careful.file("errors").unlink()
    await careful.run()
    assert await careful.states("errors") == ["live", "canary"]
    assert careful.file("errors").read_text() == live, "not a day without alerts, while another is a shadow"
    careful.file("errors").unlink()
    await careful.loop.recover()
    assert careful.file("errors").read_text() == live


async def test_killed_before_a_roll_back_is_noted_something_is_live_still(bench: Bench) -> None:
    await bench.run()
    bench.level = 30.0
    await bench.run()
    bench.store.dies = True
    with pytest.raises(StoreError):
        await bench.loop.rollback("pronoia-errors")
    bench.store.dies = False
    assert await bench.states("errors") == ["superseded", "live"]


@pytest.mark.parametrize("moment", ["retired", "recovered"])
async def test_a_file_that_cannot_be_put_right_does_not_cost_the_others_theirs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    await bench.run()
    restore = bench.loop.publisher.restore

    async def stuck(group: str, text: str | None) -> None:
        if group == "pronoia-errors":
            raise RuleError(RuleReason.NOT_WRITABLE, "a policy forbids it")
        await restore(group, text)

    monkeypatch.setattr(bench.loop.publisher, "restore", stuck)
    bench.level = 30.0
    if moment == "retired":
        del bench.queries["errors"]
        assert await bench.run() == {"waits": "ok"}
        return
    texts = {}
    for name in QUERIES:
        (live,) = await bench.store.revisions(group=f"pronoia-{name}")
        texts[name] = live.content
        half = msgspec.structs.replace(
            live, revision_id=name, content=live.content + "# half\n", state="proposed"
        )
        await bench.store.put_revision(half)
        bench.file(name).write_text(half.content)
    await bench.loop.recover()
    assert bench.file("errors").read_text() == texts["errors"] + "# half\n"
    assert bench.file("waits").read_text() == texts["waits"]


async def test_what_the_configuration_says_of_alerts_reaches_files_that_are_there(bench: Bench) -> None:
    await bench.run()
    assert "ErrorsAbsent" in bench.file("errors").read_text()
    bench.queries = {name: query.model_copy(update={"absence": "off"}) for name, query in QUERIES.items()}
    assert await bench.run() == {"errors": "ok", "waits": "ok"}
    assert "ErrorsAbsent" not in bench.file("errors").read_text()
    assert await bench.run() == {"errors": "unchanged", "waits": "unchanged"}


async def test_what_people_took_back_stays_back_though_its_words_are_others_now(bench: Bench) -> None:
    await bench.run()
    await bench.loop.rollback("pronoia-errors")
    bench.queries = {name: query.model_copy(update={"absence": "off"}) for name, query in QUERIES.items()}
    assert await bench.run() == {"errors": "unchanged", "waits": "ok"}
    assert not bench.file("errors").exists()


async def test_while_one_query_has_learnt_nothing_the_others_are_not_asked_again(
    bench: Bench,
) -> None:
    bench.unlearnt = {"waits"}
    assert await bench.run() == {"errors": "ok"}
    assert await bench.loop.run_late() == []
    assert bench.asked == [["errors", "waits"], ["waits"]]


async def look(bench: Bench) -> None:
    watch = LiveWatch(
        bench.loop.reviser, bench.server, source=None, max_firing_ratio=3, now=lambda: bench.now
    )
    await watch.look()


async def test_killed_on_its_way_live_a_shadow_goes_on(careful: Bench) -> None:
    await careful.run()
    careful.now += 601
    careful.store.dies = True
    with pytest.raises(StoreError):
        await look(careful)
    careful.store.dies = False
    (first,) = [name for name in QUERIES if careful.file(name).exists()]
    await careful.loop.recover()
    await look(careful)
    assert await careful.states(first) == ["live"]
    assert not (careful.folder / f"pronoia-canary-pronoia-{first}.rules.yaml").exists()


async def test_killed_once_it_is_live_its_shadow_is_removed(
    careful: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await careful.run()
    careful.now += 601

    async def killed(*_: object) -> None:
        raise StoreError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(careful.loop.publisher, "restore", killed)
        with pytest.raises(StoreError):
            await look(careful)
    (first,) = [name for name in QUERIES if await careful.states(name) == ["live"]]
    shadow = careful.folder / f"pronoia-canary-pronoia-{first}.rules.yaml"
    assert shadow.exists()
    await careful.loop.recover()
    assert not shadow.exists()
    assert await careful.states(first) == ["live"]


async def test_live_rules_that_prometheus_does_not_load_are_loaded_again_and_told_of(
    bench: Bench,
) -> None:
    await bench.run()
    edit(bench.file("waits"))
    bench.server.blind, reloads = True, bench.server.n_reloads
    with bench.bus.subscribe() as events:
        for _ in range(12):
            await bench.loop.watch.look()
            bench.now += 60
        bench.bus.close()
        told = [event async for event in events if event.kind == "rules.not_loaded"]
    assert [event.facts["group"] for event in told] == ["pronoia-errors", "pronoia-waits"]
    assert "does it load" in told[0].facts["why"]
    assert "not as pronoia wrote it" in told[1].facts["why"]
    assert bench.server.n_reloads == reloads + 1
    assert bench.not_loaded() == 2
    bench.server.blind = False
    await bench.loop.watch.look()
    assert bench.not_loaded() == 0
    assert await bench.states("errors") == ["live"]


async def test_a_shadow_that_is_taken_back_while_it_goes_live_is_not_live(
    careful: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a command beside the process, where the place has no lock: a ruler, or objects."""
    await careful.run()
    publish, reviser = careful.loop.publisher.publish, careful.loop.reviser

    async def meanwhile(file: RuleFile) -> None:
        await publish(file)
        if file.group == "pronoia-errors":
            assert await reviser.undo(file.group, "rolled back by hand") is None

    monkeypatch.setattr(careful.loop.publisher, "publish", meanwhile)
    careful.now += 601
    await LiveWatch(reviser, careful.server, source=None, max_firing_ratio=3, now=lambda: careful.now).look()
    assert await careful.states("errors") == ["rejected"]
    assert not careful.file("errors").exists()
    assert await careful.states("waits") == ["live"]
