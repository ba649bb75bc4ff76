"""The rules loop on a real Prometheus: loaded and healthy, or taken back, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rules.generate.packs import load_pack
from rules.generate.slo import slo_file
from sidecar.config.slo import SloConfig
from tests.integration.rules_bench import FILE, QUERY, Bench, bench, learned, make_loaded
from tests.integration.servers import Prometheus, get_json, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def loaded(tmp_path: Path, keep: Callable[..., Any]) -> Prometheus:
    return make_loaded(tmp_path, keep)


async def test_published_it_is_loaded_healthy_and_fires_on_its_literals(
    loaded: Prometheus, tmp_path: Path
) -> None:
    async with bench(loaded, tmp_path) as b:
        (outcome,) = await b.loop.run_once()
        assert outcome.result == "ok", outcome
        rules = [rule for rule in await b.client.rules() if rule.group == "pronoia-load"]
        assert {rule.health for rule in rules} == {"ok"}
        assert os.stat(b.rules / FILE).st_mode & 0o777 == 0o644, "Prometheus may be another user"
        (again,) = await b.loop.run_once()
        assert again.result == "unchanged"
        # No pronoia is running: the literals alone must make it fire.
        b.band = learned(2.0)
        assert (await b.loop.run_once())[0].result == "ok"
        assert await b.states() == ["live", "superseded"]
    alerts = wait_until(
        lambda: get_json(loaded.url + "/api/v1/alerts")["data"]["alerts"], what="the alert fires"
    )
    assert alerts[0]["labels"]["alertname"] == "LoadAboveExpected"
    assert alerts[0]["labels"]["service"] == "a"


async def test_a_new_threshold_keeps_a_pending_alert_pending(loaded: Prometheus, tmp_path: Path) -> None:
    async with bench(loaded, tmp_path) as b:
        b.query = QUERY.model_copy(update={"rule_for": 600.0})
        b.band = learned(2.0)
        assert (await b.loop.run_once())[0].result == "ok"

        def active_at() -> str:
            (alert,) = get_json(loaded.url + "/api/v1/alerts")["data"]["alerts"]
            assert alert["state"] == "pending"
            return str(alert["activeAt"])

        before = await asyncio.to_thread(wait_until, active_at, what="pending")
        b.band = learned(3.0)
        assert (await b.loop.run_once())[0].result == "ok"
        assert await asyncio.to_thread(wait_until, active_at, what="pending still") == before


async def test_a_neighbours_broken_file_takes_ours_back(loaded: Prometheus, tmp_path: Path) -> None:
    async with bench(loaded, tmp_path) as b:
        assert (await b.loop.run_once())[0].result == "ok"
        good = (b.rules / FILE).read_text()
        (b.rules / "broken.yaml").write_text("groups: [{name: x, rules: [{record: a, expr: '('}]}]")
        b.band = learned(2.0)
        (outcome,) = await b.loop.run_once()
        assert outcome.result == "reload_failed"
        assert "500" in outcome.words
        assert (b.rules / FILE).read_text() == good
        (b.rules / "broken.yaml").unlink()
        assert (await b.loop.run_once())[0].result == "ok", "tried again, and well"


async def test_a_rule_that_errs_when_evaluated_is_taken_back(loaded: Prometheus, tmp_path: Path) -> None:
    rule = {"record": "many", "expr": "vector(5)", "labels": {"service": "a"}}
    twins = [{**rule, "labels": {"service": "a", "twin": twin}} for twin in "12"]
    (loaded.rules / "twins.yaml").write_text(json.dumps({"groups": [{"name": "twins", "rules": twins}]}))
    async with bench(loaded, tmp_path) as b:
        await b.client.reload()
        await asyncio.to_thread(wait_until, lambda: len(loaded.query("many")) == 2, what="twins")
        # It parses, and promtool has nothing against it; only evaluation shows the many-to-one join.
        b.query = QUERY.model_copy(update={"expr": "load * on (service) many"})
        (outcome,) = await b.loop.run_once()
        assert outcome.result == "unhealthy"
        assert "duplicate series" in outcome.words
        assert not (b.rules / FILE).exists()
        assert await b.states() == ["rejected"]
        (again,) = await b.loop.run_once()
        assert again.result == "unchanged", "the same text is not tried again"


async def test_a_directory_that_prometheus_does_not_load_is_said_so(
    loaded: Prometheus, tmp_path: Path
) -> None:
    other = tmp_path / "elsewhere"
    async with bench(loaded, tmp_path, rules=other) as b:
        b.loop.publisher._timeout = 2.0
        (outcome,) = await b.loop.run_once()
    assert outcome.result == "not_loaded"
    assert "rule_files" in outcome.words
    assert not (other / FILE).exists()


async def test_a_label_gained_after_learning_does_not_break_the_alert(
    loaded: Prometheus, tmp_path: Path
) -> None:
    pods = [{"record": "load", "expr": "vector(50)", "labels": {"service": "a", "pod": pod}} for pod in "12"]
    async with bench(loaded, tmp_path) as b:
        assert (await b.loop.run_once())[0].result == "ok"
        (b.rules / "pods.yaml").write_text(json.dumps({"groups": [{"name": "pods", "rules": pods}]}))
        await b.client.reload()

        def firing() -> bool:
            alerts = get_json(loaded.url + "/api/v1/alerts")["data"]["alerts"]
            return {alert["labels"].get("pod") for alert in alerts} == {"1", "2"}

        await asyncio.to_thread(wait_until, firing, what="both pods fire")


async def test_the_rule_of_a_query_that_left_goes_with_it(loaded: Prometheus, tmp_path: Path) -> None:
    async with bench(loaded, tmp_path) as b:
        await b.loop.run_once()
        assert (b.rules / FILE).exists()
        b.query = QUERY.model_copy(update={"rule": False})
        await b.loop.run_once()
        assert not (b.rules / FILE).exists()
        assert await b.states() == ["superseded"]


async def test_rolled_back_by_hand_it_stays_back(loaded: Prometheus, tmp_path: Path) -> None:
    async with bench(loaded, tmp_path) as b:
        await b.loop.run_once()
        first = (b.rules / FILE).read_text()
        b.band = learned(2.0)
        await b.loop.run_once()
        before = await b.loop.rollback("pronoia-load")
        assert before is not None
        assert (b.rules / FILE).read_text() == first
        assert (await b.loop.run_once())[0].words == "one like it was taken back"
        assert await b.loop.rollback("pronoia-load") is None
        assert not (b.rules / FILE).exists()


async def test_killed_between_writing_and_verifying_the_start_puts_it_right(
    loaded: Prometheus, tmp_path: Path
) -> None:
    async with bench(loaded, tmp_path) as b:
        await b.loop.run_once()
        good = (b.rules / FILE).read_text()
        (live,) = await b.store.revisions()
        half = good + "# half a revision\n"
        await b.store.put_revision(
            msgspec.structs.replace(live, revision_id="half", content=half, state="proposed")
        )
        (b.rules / FILE).write_text(half)
        await b.loop.recover()
        assert (b.rules / FILE).read_text() == good
        assert live.content == good


async def test_what_a_lost_store_left_is_replaced_and_can_be_had_back(
    loaded: Prometheus, tmp_path: Path
) -> None:
    async with bench(loaded, tmp_path) as b:
        b.rules.mkdir(exist_ok=True)
        left = "groups: [{name: pronoia-load, rules: [{record: mine, expr: vector(1)}]}]  # edited\n"
        (b.rules / FILE).write_text(left)
        (outcome,) = await b.loop.run_once()
        assert outcome.result == "ok", outcome.words
        assert (b.rules / FILE).read_text() != left
        before = await b.loop.rollback("pronoia-load")
        assert before is not None
        assert before.reason == "found in its place, unknown to this store"
        assert (b.rules / FILE).read_text() == left


async def test_a_hand_edit_is_said_and_kept(loaded: Prometheus, tmp_path: Path) -> None:
    async with bench(loaded, tmp_path) as b:
        await b.loop.run_once()
        edited = (b.rules / FILE).read_text().replace("severity: warning", "severity: critical")
        (b.rules / FILE).write_text(edited)
        await b.loop.recover()
        b.band = learned(2.0)
        (outcome,) = await b.loop.run_once()
        assert outcome.result == "hand_edited"
        assert "--repair pronoia-load" in outcome.words
        assert (b.rules / FILE).read_text() == edited
        b.query = QUERY.model_copy(update={"rule": False})
        await b.loop.run_once()
        assert (b.rules / FILE).read_text() == edited, "kept even when its query is gone"


async def test_objectives_and_packs_of_the_configuration_are_live(loaded: Prometheus, tmp_path: Path) -> None:
    slo = SloConfig(name="load", objective=0.99, errors="rate(bad[$window])", total="rate(all[$window])")
    files = [slo_file(slo), load_pack("prometheus").file()]
    async with bench(loaded, tmp_path, fixed=files) as b:
        outcomes = await b.loop.run_once()
        assert [outcome.result for outcome in outcomes] == ["ok", "ok", "ok"]
        groups = {rule.group for rule in await b.client.rules()}
        assert {"pronoia-slo-load", "pronoia-slo-load-ratios", "pronoia-prometheus"} <= groups
        assert {outcome.result for outcome in await b.loop.run_once()} == {"unchanged"}


async def test_a_query_that_learns_after_a_run_does_not_wait_for_the_next(
    loaded: Prometheus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rules.loop.FIRST_WAIT_SECONDS", 0.1)
    monkeypatch.setattr("rules.loop.LATE_SECONDS", 0.3)
    async with bench(loaded, tmp_path, fixed=[load_pack("prometheus").file()], interval=3600) as b:
        b.band = None
        b.loop.start()
        try:
            await until_live(b, 1)
            b.band = learned(10.0)
            await until_live(b, 2)
        finally:
            await b.loop.stop()
        assert (b.rules / FILE).exists()
        assert await b.loop.run_late() == [], "whose outcome is known is not asked again"


async def until_live(b: Bench, n: int) -> None:
    """Until so many files are live; an hour is not waited for."""
    async with asyncio.timeout(30):
        while (await b.states()).count("live") < n:
            await asyncio.sleep(0.05)


async def test_a_full_disk_leaves_the_old_file(loaded: Prometheus, tmp_path: Path, small_disk: Path) -> None:
    loaded.config.write_text(loaded.config.read_text().replace(str(loaded.rules), str(small_disk)))
    (small_disk / "own.yaml").write_text((loaded.rules / "own.yaml").read_text())
    async with bench(loaded, tmp_path, rules=small_disk) as b:
        assert (await b.loop.run_once())[0].result == "ok"
        good = (small_disk / FILE).read_text()
        filler = small_disk / "filler"
        with contextlib.suppress(OSError):  # As much as there is room for.
            filler.write_bytes(b"x" * 65536)
        b.band = learned(2.0)
        (outcome,) = await b.loop.run_once()
        assert outcome.result == "not_writable"
        assert (small_disk / FILE).read_text() == good
        assert not list(small_disk.glob(".*tmp"))
        filler.unlink()
        assert (await b.loop.run_once())[0].result == "ok"


async def test_a_directory_that_is_not_writable_leaves_the_old_file(
    loaded: Prometheus, tmp_path: Path, small_disk: Path
) -> None:
    loaded.config.write_text(loaded.config.read_text().replace(str(loaded.rules), str(small_disk)))
    (small_disk / "own.yaml").write_text((loaded.rules / "own.yaml").read_text())
    async with bench(loaded, tmp_path, rules=small_disk) as b:
        assert (await b.loop.run_once())[0].result == "ok"
        good = (small_disk / FILE).read_text()
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        b.band = learned(2.0)
        (outcome,) = await b.loop.run_once()
        assert outcome.result == "not_writable"
        assert "untouched" in outcome.words
        assert (small_disk / FILE).read_text() == good
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        assert (await b.loop.run_once())[0].result == "ok"
