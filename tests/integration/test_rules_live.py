"""Generated rules on a real Prometheus once they are there: a shadow first, watched, taken back."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from rules.document import RuleFile
from rules.live import LiveWatch
from rules.predictive import Ahead, render_ahead
from sidecar.prometheus.answers import Rule
from sidecar.series import LabelSet, SeriesBatch
from tests.integration.rules_bench import FILE, QUERY, Bench, Late, bench, make_loaded
from tests.integration.servers import Prometheus, get_json, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def loaded(tmp_path: Path, keep: Callable[..., Any]) -> Prometheus:
    return make_loaded(tmp_path, keep)


class Flapping:
    """A server on which every alert began to fire a hundred times."""

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        raise AssertionError("not asked here")

    async def range(self, expr: str, *, start_ms: int, **_: Any) -> SeriesBatch:
        values = np.tile([np.nan, 1.0], 100)[None, :]
        return SeriesBatch("ALERTS", (LabelSet(),), start_ms + np.arange(200) * 15_000, values)


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


async def test_warnings_ahead_that_are_worked_out_after_a_run_do_not_wait_for_the_next(
    loaded: Prometheus, tmp_path: Path
) -> None:
    late = Late()
    terms = {"warn_seconds": 3600.0, "probability": 0.5, "for_seconds": 600.0, "keep_firing_seconds": 600.0}

    def known(threshold: float) -> list[RuleFile]:
        warning = Ahead("LoadHigh", "load", ">", threshold, "2 of 2 warnings came true")
        return [render_ahead([warning], severity="warning", interval_seconds=1.0, **terms)]

    async with bench(loaded, tmp_path, late=late) as b:
        await b.loop.run_once()
        assert await b.loop.run_late() == [], "nothing is known yet"
        for threshold in (9.0, 8.0):
            late.known = known(threshold)
            (outcome,) = await b.loop.run_late()
            assert (outcome.query, outcome.result) == ("pronoia-ahead", "ok")
            assert await b.loop.run_late() == [], "what was tried is not tried again"


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
