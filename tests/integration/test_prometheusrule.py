"""The rules loop through PrometheusRule objects, an operator and a real Prometheus: live, or taken back."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.rules_bench import learned
from tests.integration.rules_cluster import NAME, Cluster, make_prometheus, query, running
from tests.integration.servers import Prometheus, get_json, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def prometheus(tmp_path: Path, keep: Callable[..., Any]) -> Prometheus:
    return make_prometheus(tmp_path, keep)


@pytest.fixture
async def cluster(prometheus: Prometheus, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(prometheus, tmp_path) as made:
        yield made


async def test_published_it_goes_through_the_operator_and_fires(cluster: Cluster) -> None:
    cluster.bands = [learned(2.0)]
    (outcome,) = await cluster.loop.run_once()
    assert outcome.result == "ok", outcome
    (live,) = await cluster.store.revisions()
    assert cluster.loaded() == {"pronoia-load": live.content_hash}
    assert cluster.api.one(NAME)["spec"] == yaml.safe_load(live.content)
    alerts = await asyncio.to_thread(
        wait_until,
        lambda: get_json(cluster.server.url + "/api/v1/alerts")["data"]["alerts"],
        what="the alert fires",
    )
    assert alerts[0]["labels"]["alertname"] == "LoadAboveExpected"
    (again,) = await cluster.loop.run_once()
    assert again.result == "unchanged"


async def test_an_alert_that_errs_when_evaluated_gives_way_to_the_object_before(cluster: Cluster) -> None:
    await cluster.loop.run_once()
    (good,) = await cluster.store.revisions()
    before = copy.deepcopy(cluster.api.one(NAME))
    # It parses, and neither promtool nor a webhook minds; only evaluation shows the many-to-one join.
    cluster.queries = [query(expr="load * on (service) many")]
    (outcome,) = await cluster.loop.run_once()
    assert outcome.result == "unhealthy"
    assert "duplicate series" in outcome.words
    assert cluster.api.one(NAME)["spec"] == before["spec"]
    assert await cluster.states() == ["rejected", "live"]
    # The bad one is loaded until operator and reloader follow; that must not cost the good one its life.
    await cluster.loop.watch.look()
    assert await cluster.states() == ["rejected", "live"]
    await cluster.until_loaded({"pronoia-load": good.content_hash})


async def test_a_namespace_that_the_operator_does_not_select_is_said_so(cluster: Cluster) -> None:
    cluster.operator.selector["release"] = "another"
    cluster.loop = cluster.make_loop(verify_timeout=1.5)
    (outcome,) = await cluster.loop.run_once()
    assert outcome.result == "not_loaded"
    assert "ruleSelector match release=kube-prometheus-stack" in outcome.words
    assert cluster.api.objects == {}


async def test_many_groups_wait_together_not_one_after_the_other(cluster: Cluster) -> None:
    cluster.operator.delay_seconds = 1.0
    names = [f"load_{number}" for number in range(12)]
    cluster.queries = [query(name) for name in names]
    cluster.bands = [learned(10.0, name=name) for name in names]
    began = asyncio.get_running_loop().time()
    outcomes = await cluster.loop.run_once()
    seconds = asyncio.get_running_loop().time() - began
    assert [each.result for each in outcomes] == ["ok"] * 12
    assert set(cluster.loaded()) == {f"pronoia-{name}" for name in names}
    assert seconds < 8.0, "twelve rounds of the operator would be more than 12 s"


async def test_a_query_that_leaves_takes_its_object_along(cluster: Cluster) -> None:
    await cluster.loop.run_once()
    cluster.queries = [query("other")]
    cluster.bands = []
    await cluster.loop.run_once()
    assert cluster.api.objects == {}
    await cluster.until_loaded({})


@pytest.mark.parametrize("first", [True, False], ids=["a first revision", "a second revision"])
async def test_killed_between_object_and_verification_the_start_puts_it_right(
    cluster: Cluster, first: bool
) -> None:
    wanted = {}
    if not first:
        await cluster.loop.run_once()
        (good,) = await cluster.store.revisions()
        wanted = {"pronoia-load": good.content_hash}
    cluster.operator.delay_seconds = 60.0  # So it is verified by nobody.
    await asyncio.sleep(0.4)
    cluster.bands = [learned(2.0)]
    publishing = asyncio.create_task(cluster.loop.run_once())

    def is_put() -> bool:
        return "vector(2)" in str(cluster.api.objects)

    await asyncio.to_thread(wait_until, is_put, what="the object is put")
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    assert (await cluster.states())[0] == "proposed"

    restarted = cluster.make_loop()
    await restarted.recover()
    assert (await cluster.states())[0] == "rejected"
    assert "vector(2)" not in str(cluster.api.objects)
    assert len(cluster.api.objects) == len(wanted)
    assert cluster.loaded() == wanted


async def test_an_edit_by_hand_is_said_and_kept(cluster: Cluster) -> None:
    await cluster.loop.run_once()
    edited = copy.deepcopy(cluster.api.one(NAME))
    edited["spec"]["groups"][0]["rules"][-1]["for"] = "3h"
    cluster.api.seed("monitoring", edited)
    await cluster.make_loop().recover()
    assert cluster.api.one(NAME)["spec"] == edited["spec"]
    (outcome,) = await cluster.loop.run_once()
    assert outcome.result == "hand_edited"


async def test_what_comes_back_is_the_live_revision_not_what_lay_there(cluster: Cluster) -> None:
    await cluster.loop.run_once()
    older = copy.deepcopy(cluster.api.one(NAME))
    cluster.bands = [learned(15.0)]
    await cluster.loop.run_once()
    good = copy.deepcopy(cluster.api.one(NAME)["spec"])
    cluster.api.seed("monitoring", older)
    cluster.operator.selector["release"] = "another"
    cluster.loop = cluster.make_loop(verify_timeout=1.5)
    cluster.bands = [learned(20.0)]
    (outcome,) = await cluster.loop.run_once()
    assert outcome.result == "not_loaded"
    assert cluster.api.one(NAME)["spec"] == good


async def test_the_api_away_leaves_the_rules_and_comes_back(cluster: Cluster) -> None:
    await cluster.loop.run_once()
    before = cluster.loaded()
    cluster.api.failures = [503] * 3
    cluster.bands = [learned(20.0)]
    (outcome,) = await cluster.loop.run_once()
    assert outcome.result == "unreachable"
    assert "503" in outcome.words
    assert cluster.loaded() == before
    assert (await cluster.loop.run_once())[0].result == "ok", "tried again, and well"


async def test_an_admission_webhook_that_refuses_is_not_asked_again(cluster: Cluster) -> None:
    cluster.api.admit = lambda _: "Rules are not valid"
    (outcome,) = await cluster.loop.run_once()
    assert outcome.result == "check_failed"
    assert "Rules are not valid" in outcome.words
    cluster.api.requests.clear()
    (again,) = await cluster.loop.run_once()
    assert again.result == "unchanged"
    assert [method for method, _ in cluster.api.requests if method != "GET"] == []
