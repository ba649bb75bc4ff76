"""What was taken back by mistake, and what else may be live again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from rules.live import LiveWatch
from rules.republish import checked, republish
from sidecar.config.model import StoreConfig
from sidecar.errors import RuleError
from sidecar.records import RuleRevision
from tests.unit.rules.loop_bench import Bench, Dying


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Dying]:
    found = await Dying.open(StoreConfig(directory=tmp_path / "data"), registry=CollectorRegistry())
    assert isinstance(found, Dying)
    yield found
    await found.close()


async def newest(bench: Bench, state: str) -> RuleRevision:
    return (await bench.store.revisions(group="pronoia-errors", state=state))[0]


async def test_a_roll_back_that_was_a_mistake_is_undone(tmp_path: Path, store: Dying) -> None:
    bench = Bench(tmp_path / "rules", store)
    await bench.run()
    first = bench.file("errors").read_text()
    bench.level = 30.0
    await bench.run()
    second = bench.file("errors").read_text()
    await bench.loop.rollback("pronoia-errors")
    await bench.loop.rollback("pronoia-errors")
    assert not bench.file("errors").exists()
    taken = next(one for one in await store.revisions(group="pronoia-errors") if one.content == second)

    before, checks = await checked(bench.loop.reviser, taken, promtool="none")
    assert (before, "lint" in checks, bench.file("errors").exists()) == ("", True, False)
    bench.now += 60
    done = await republish(bench.loop.reviser, taken, approver="ada")
    assert bench.file("errors").read_text() == second
    assert await bench.states("errors") == ["rolled_back", "rolled_back", "live"]
    assert done.evidence == {**taken.evidence, "approver": "ada"}
    assert await bench.run() == {"errors": "unchanged", "waits": "unchanged"}

    # The one before it in place of it, and that way back too.
    old = next(one for one in await store.revisions(group="pronoia-errors") if one.content == first)
    await republish(bench.loop.reviser, old, approver="ada")
    assert bench.file("errors").read_text() == first
    await bench.loop.rollback("pronoia-errors")
    assert bench.file("errors").read_text() == second


async def test_what_was_live_needs_no_shadow_and_what_was_none_but_a_shadow_does(
    tmp_path: Path, store: Dying
) -> None:
    bench = Bench(tmp_path / "rules", store, canary=600)
    reviser = bench.loop.reviser
    await bench.run()
    await bench.loop.rollback("pronoia-errors")
    assert (await bench.run())["errors"] == "unchanged"
    done = await republish(reviser, await newest(bench, "rejected"), approver="ada")
    assert done.state == "canary"
    with pytest.raises(RuleError, match="has a shadow"):
        await republish(reviser, await newest(bench, "canary"), approver="ada")
    bench.now += 601
    await LiveWatch(reviser, bench.server, source=None, max_firing_ratio=3, now=lambda: bench.now).look()
    await bench.loop.rollback("pronoia-errors")
    done = await republish(reviser, await newest(bench, "rolled_back"), approver="ada")
    assert done.state == "live"
    assert "canary_seconds" not in done.evidence


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"state": "live"}, "is live", id="it is live"),
        pytest.param(
            {"state": "rejected", "reason": "check_failed: a b"}, "never ran .*: check", id="refused"
        ),
        pytest.param({"state": "superseded", "content_hash": "abc"}, "found in its place", id="found there"),
        pytest.param({"group": "file:/a.yaml"}, "pronoia rules plan, then apply", id="of peoples own"),
    ],
)
async def test_what_may_not_be_live_again(
    tmp_path: Path, store: Dying, changes: dict[str, str], words: str
) -> None:
    bench = Bench(tmp_path / "rules", store)
    await bench.run()
    one = await newest(bench, "live")
    other = {} if changes["group" if "group" in changes else "state"] == "live" else {"content": "groups: []"}
    with pytest.raises(RuleError, match=words):
        await republish(bench.loop.reviser, msgspec.structs.replace(one, **other, **changes), approver="ada")


async def test_what_people_edited_meanwhile_is_kept(tmp_path: Path, store: Dying) -> None:
    bench = Bench(tmp_path / "rules", store)
    await bench.run()
    bench.level = 30.0
    await bench.run()
    edited = bench.file("errors").read_text().replace("severity: warning", "severity: critical")
    bench.file("errors").write_text(edited)
    with pytest.raises(RuleError, match="edited by hand"):
        await republish(bench.loop.reviser, await newest(bench, "superseded"), approver="ada")
    assert bench.file("errors").read_text() == edited
