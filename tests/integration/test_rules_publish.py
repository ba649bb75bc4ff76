"""The rules loop on a real Prometheus: loaded and healthy, or taken back, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from rules.document import RuleFile
from rules.generate.packs import load_pack
from rules.generate.slo import slo_file
from rules.live import LiveWatch
from rules.loop import RulesLoop
from rules.predictive import Ahead, render_ahead
from rules.revise import RuleMetrics
from sidecar.config.model import QueryConfig, RulesConfig, SourceConfig, StoreConfig
from sidecar.config.slo import SloConfig
from sidecar.events import EventBus
from sidecar.prometheus.answers import Rule
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.series import LabelSet, LearnedBand, SeriesBatch
from sidecar.store.sqlite import SqliteStore
from tests.integration.servers import Prometheus, binary, get_json, wait_until

pytestmark = pytest.mark.integration

QUERY = QueryConfig(name="load", expr="load", step=60, direction="above", rule_for=0)
FILE = "pronoia-load.rules.yaml"


def learned(upper: float, expr: str = "load") -> LearnedBand:
    full = np.ones((1, 168))
    return LearnedBand(
        "load",
        expr,
        (LabelSet({"service": "a"}),),
        full * upper / 2,
        full * 0.0,
        full * upper,
        np.array([10**6]),
    )


class Bench:
    """A rules loop, its store and its client, and what to feed it."""

    def __init__(self, loop: RulesLoop, store: SqliteStore, client: PrometheusClient, rules: Path) -> None:
        self.loop, self.store, self.client, self.rules = loop, store, client, rules
        self.band = learned(10.0)
        self.query = QUERY

    async def states(self) -> list[str]:
        return [revision.state for revision in await self.store.revisions()]


@asynccontextmanager
async def bench(
    server: Prometheus,
    tmp_path: Path,
    rules: Path | None = None,
    fixed: Sequence[RuleFile] = (),
    *,
    proved: bool = False,
    late: Late | None = None,
    **settings: Any,
) -> AsyncIterator[Bench]:
    store = await SqliteStore.open(StoreConfig(directory=tmp_path / "data"), registry=CollectorRegistry())
    config = RulesConfig(
        directory=rules or server.rules,
        evaluation_interval=1,
        verify_timeout=10,
        min_history=60,
        margin=1.0,
        promtool=binary("promtool"),
        **settings,
    )
    source = SourceConfig(url=server.url, retries=0, timeout=5)
    async with PrometheusClient(source, metrics=PullMetrics(CollectorRegistry())) as client:
        holder: list[Bench] = []

        async def bands() -> list[LearnedBand]:
            return [holder[0].band]

        loop = RulesLoop(
            config,
            queries=lambda: [holder[0].query],
            bands=bands,
            server=client,
            store=store,
            bus=EventBus(),
            metrics=RuleMetrics(CollectorRegistry()),
            source=client if proved else None,
            fixed=fixed,
            late=late,
        )
        holder.append(Bench(loop, store, client, rules or server.rules))
        try:
            yield holder[0]
        finally:
            await store.close()


@pytest.fixture
def loaded(tmp_path: Path, keep: Callable[..., Any]) -> Prometheus:
    """A Prometheus that has the series `load{service="a"}` = 5 through a rule of its own."""
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    rule = {"record": "load", "expr": "vector(5)", "labels": {"service": "a"}}
    (server.rules / "own.yaml").write_text(json.dumps({"groups": [{"name": "own", "rules": [rule]}]}))
    server.start()
    wait_until(lambda: server.query("load"), what="the series is there")
    return server


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


async def test_a_live_rule_that_turns_bad_later_is_taken_back(loaded: Prometheus, tmp_path: Path) -> None:
    many = {"record": "many", "expr": "vector(5)", "labels": {"service": "a"}}
    neighbour = loaded.rules / "many.yaml"
    neighbour.write_text(json.dumps({"groups": [{"name": "many", "rules": [many]}]}))
    async with bench(loaded, tmp_path) as b:
        await b.client.reload()
        b.query = QUERY.model_copy(update={"expr": "load * on (service) many"})
        assert (await b.loop.run_once())[0].result == "ok"
        twin = {**many, "labels": {"service": "a", "twin": "2"}}
        neighbour.write_text(json.dumps({"groups": [{"name": "many", "rules": [many, twin]}]}))
        await b.client.reload()

        def unhealthy() -> bool:
            groups = get_json(loaded.url + "/api/v1/rules")["data"]["groups"]
            return any(rule["health"] == "err" for group in groups for rule in group["rules"])

        await asyncio.to_thread(wait_until, unhealthy, what="Prometheus calls the rule unhealthy")
        await b.loop.watch.look()
        assert not (b.rules / FILE).exists()
        assert await b.states() == ["rolled_back"]


async def test_a_new_group_is_a_shadow_first_and_goes_live_when_it_did_well(
    loaded: Prometheus, tmp_path: Path
) -> None:
    async with bench(loaded, tmp_path, proved=True, canary=600) as b:
        clock = [time.time()]
        watch = LiveWatch(b.loop.reviser, b.client, source=b.client, max_firing_ratio=3, now=lambda: clock[0])
        assert (await b.loop.run_once())[0].result == "ok"
        assert await b.states() == ["canary"]
        assert sorted(p.name for p in b.rules.glob("pronoia-*")) == [f"pronoia-canary-{FILE}"]
        alerts = [rule for rule in await b.client.rules() if rule.kind == "alerting"]
        assert {rule.labels["pronoia_canary"] for rule in alerts} == {"true"}
        assert (await b.loop.run_once())[0].words == "its shadow runs"
        await watch.look()
        assert await b.states() == ["canary"], "its time is not over"
        clock[0] = time.time() + 601
        for _ in range(10):  # A busy server may not answer a look; the next one does.
            await watch.look()
            if await b.states() == ["live"]:
                break
        assert await b.states() == ["live"]
        assert sorted(p.name for p in b.rules.glob("pronoia-*")) == [FILE]
        assert {rule.group for rule in await b.client.rules() if rule.kind == "alerting"} == {"pronoia-load"}


@pytest.mark.parametrize(
    ("canary", "state"),
    [pytest.param(600, "rejected", id="shadow"), pytest.param(0, "rolled_back", id="live")],
)
async def test_one_that_fires_far_more_than_was_said_is_taken_back_and_not_tried_again(
    canary: float, state: str, loaded: Prometheus, tmp_path: Path
) -> None:
    async with bench(loaded, tmp_path, proved=True, canary=canary) as b:
        assert (await b.loop.run_once())[0].result == "ok"
        await LiveWatch(
            b.loop.reviser, b.client, source=Flapping(), max_firing_ratio=3, now=lambda: time.time() + 3600
        ).look()
        (revision,) = await b.store.revisions()
        assert revision.state == state
        assert "were expected" in revision.reason
        assert list(b.rules.glob("pronoia-*.yaml")) == []
        assert (await b.loop.run_once())[0].words == "one like it was taken back"


async def test_one_that_takes_half_its_interval_is_taken_back(loaded: Prometheus, tmp_path: Path) -> None:
    async with bench(loaded, tmp_path) as b:
        await b.loop.run_once()

        class Slow:
            async def rules(self) -> list[Rule]:
                return [
                    msgspec.structs.replace(rule, evaluation_seconds=5.6) for rule in await b.client.rules()
                ]

        await LiveWatch(b.loop.reviser, Slow(), source=None, max_firing_ratio=3).look()
        (revision,) = await b.store.revisions()
        assert revision.state == "rolled_back"
        assert "takes 5.6 s" in revision.reason


class Late:
    """Warnings ahead that are not tried yet, or were."""

    groups = frozenset({"pronoia-ahead"})

    def __init__(self) -> None:
        self.known: list[RuleFile] | None = None

    def files(self) -> list[RuleFile] | None:
        return self.known


async def test_warnings_ahead_are_live_once_they_were_tried_and_stay_until_they_are_again(
    loaded: Prometheus, tmp_path: Path
) -> None:
    late = Late()
    terms = {"warn_seconds": 3600.0, "probability": 0.5, "for_seconds": 600.0, "keep_firing_seconds": 600.0}
    warning = Ahead("LoadHigh", "load", ">", 9.0, "2 of 2 warnings came true")

    async def live(b: Bench) -> list[str]:
        return sorted(one.group for one in await b.store.revisions(state="live"))

    async with bench(loaded, tmp_path, late=late) as b:
        late.known = [render_ahead([warning], severity="warning", interval_seconds=1.0, **terms)]
        outcomes = await b.loop.run_once()
        assert {outcome.result for outcome in outcomes} == {"ok"}, outcomes
        assert await live(b) == ["pronoia-ahead", "pronoia-load"]
    late.known = None
    async with bench(loaded, tmp_path, late=late) as b:
        await b.loop.run_once()
        assert await live(b) == ["pronoia-ahead", "pronoia-load"], "a start removes what it knows not"
        late.known = []
        await b.loop.run_once()
        assert await live(b) == ["pronoia-load"]


class Flapping:
    """A server on which every alert began to fire a hundred times."""

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        raise AssertionError("not asked here")

    async def range(self, expr: str, *, start_ms: int, **_: Any) -> SeriesBatch:
        values = np.tile([np.nan, 1.0], 100)[None, :]
        return SeriesBatch("ALERTS", (LabelSet(),), start_ms + np.arange(200) * 15_000, values)


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
