"""The rules loop through PrometheusRule objects, an operator and a real Prometheus: live, or taken back."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from prometheus_client import CollectorRegistry

from rules.adapt.adapted import AdaptedRules
from rules.adapt.places import own_rules, place_finder
from rules.adapt.text import rewrite_text
from rules.drift import drift_of_place
from rules.kubernetes import RuleObjects
from rules.loop import RulesLoop
from rules.publish_objects import ObjectPublisher
from rules.read import of_server
from rules.revise import RuleMetrics
from sidecar.cli.main import main
from sidecar.config.model import PrometheusRuleConfig, QueryConfig, RulesConfig, SourceConfig, StoreConfig
from sidecar.errors import RuleError
from sidecar.events import EventBus
from sidecar.prometheus.client import PrometheusClient
from sidecar.prometheus.session import PullMetrics
from sidecar.series import LabelSet, LearnedBand
from sidecar.store.sqlite import SqliteStore
from tests.integration.conftest import wave_config
from tests.integration.kubernetes_api import BASE, KubernetesApi, Operator, account, certified, serving
from tests.integration.servers import Prometheus, Pronoia, binary, get_json, wait_until
from tests.unit.chart.helm_chart import CHART, only, render

pytestmark = pytest.mark.integration

RELEASE = {"release": "kube-prometheus-stack"}
NAME = "pronoia-load"


def query(name: str = "load", expr: str = "load") -> QueryConfig:
    return QueryConfig(name=name, expr=expr, step=60, direction="above", rule_for=0)


def learned(upper: float, name: str = "load", expr: str = "load") -> LearnedBand:
    full = np.ones((1, 168))
    return LearnedBand(
        name,
        expr,
        (LabelSet({"service": "a"}),),
        full * upper / 2,
        full * 0.0,
        full * upper,
        np.array([10**6]),
    )


class Cluster:
    """API, operator and Prometheus, and a rules loop that publishes into them."""

    def __init__(self, api: KubernetesApi, url: str, operator: Operator, folder: Path) -> None:
        self.api, self.url, self.operator, self.folder = api, url, operator, folder
        self.server = operator.server
        self.queries = [query()]
        self.bands = [learned(10.0)]
        self.store: SqliteStore
        self.client: PrometheusClient
        self.loop: RulesLoop

    def config(self, **settings: Any) -> RulesConfig:
        return RulesConfig.model_validate(
            {
                "publish": "prometheus_rule",
                "prometheus_rule": {
                    "labels": RELEASE,
                    "namespace": "monitoring",
                    "api_url": self.url,
                    "token_file": self.folder / "account" / "token",
                },
                "evaluation_interval": 1,
                "verify_timeout": 15,
                "min_history": 60,
                "margin": 1.0,
                "promtool": binary("promtool"),
                **settings,
            }
        )

    def make_loop(self, **settings: Any) -> RulesLoop:
        """A loop as a start of the process makes it."""
        config = self.config(**settings)
        publisher = ObjectPublisher(
            config.prometheus_rule,
            RuleObjects(config.prometheus_rule, pause_seconds=0.05),
            self.client,
            verify_timeout_seconds=config.verify_seconds,
            poll_seconds=0.2,
        )

        async def bands() -> list[LearnedBand]:
            return self.bands

        return RulesLoop(
            config,
            queries=lambda: self.queries,
            bands=bands,
            server=self.client,
            store=self.store,
            bus=EventBus(),
            metrics=RuleMetrics(CollectorRegistry()),
            publisher=publisher,
        )

    async def states(self) -> list[str]:
        return [revision.state for revision in await self.store.revisions()]

    def loaded(self) -> dict[str, str]:
        """Group and revision of every generated alert that Prometheus has."""
        groups = get_json(f"{self.server.url}/api/v1/rules")["data"]["groups"]
        return {
            group["name"]: rule["annotations"]["pronoia_revision"]
            for group in groups
            for rule in group["rules"]
            if rule["type"] == "alerting" and "pronoia_revision" in rule["annotations"]
        }

    async def until_loaded(self, wanted: dict[str, str]) -> None:
        await asyncio.to_thread(wait_until, lambda: self.loaded() == wanted, what=f"Prometheus has {wanted}")


@pytest.fixture
def prometheus(tmp_path: Path, keep: Callable[..., Any]) -> Prometheus:
    """A Prometheus that has the series `load{service="a"}` = 5, and `many` twice."""
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    rule = {"record": "load", "expr": "vector(5)", "labels": {"service": "a"}}
    twins = [
        {"record": "many", "expr": "vector(5)", "labels": {"service": "a", "twin": twin}} for twin in "12"
    ]
    (server.rules / "own.yaml").write_text(json.dumps({"groups": [{"name": "own", "rules": [rule, *twins]}]}))
    server.start()
    wait_until(lambda: len(server.query("many")) == 2, what="the series are there")
    return server


@asynccontextmanager
async def running(prometheus: Prometheus, tmp_path: Path) -> AsyncIterator[Cluster]:
    api = KubernetesApi()
    operator = Operator(api, prometheus, selector=RELEASE)
    account(tmp_path / "account")
    source = SourceConfig(url=prometheus.url, retries=0, timeout=5)
    async with serving(api) as url, operator.working():
        cluster = Cluster(api, url, operator, tmp_path)
        cluster.store = await SqliteStore.open(
            StoreConfig(directory=tmp_path / "data"), registry=CollectorRegistry()
        )
        try:
            async with PrometheusClient(source, metrics=PullMetrics(CollectorRegistry())) as client:
                cluster.client = client
                cluster.loop = cluster.make_loop()
                yield cluster
        finally:
            await cluster.store.close()


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
    cluster.bands = [learned(10.0, name) for name in names]
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


async def test_from_a_pod_over_tls_with_the_clusters_own_authority(tmp_path: Path) -> None:
    api, folder = KubernetesApi(), account(tmp_path / "account")
    async with serving(api, certified(folder)) as url:
        host, port = url.removeprefix("https://").split(":")
        environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}
        objects = RuleObjects(
            PrometheusRuleConfig(), environment=environment, account=folder, pause_seconds=0.0
        )
        assert await objects.get("nothing") is None
        assert api.requests == [("GET", BASE.format(namespace="monitoring") + "/nothing")]
        certified(folder)  # Another authority, which did not sign for that server.
        with pytest.raises(RuleError, match=r"certificate verify failed.*ca_file") as caught:
            await objects.get("nothing")
    assert caught.value.reason == "unreachable"


async def test_the_whole_process_publishes_on_what_the_chart_configures(
    tmp_path: Path, prometheus: Prometheus, make_pronoia: Callable[..., Pronoia]
) -> None:
    values = CHART / "examples" / "kube-prometheus-stack-beside.yaml"
    document = yaml.safe_load(only(render(values=values), "ConfigMap")["data"]["pronoia.yaml"])
    api, folder = KubernetesApi(), account(tmp_path / "account")
    async with serving(api, certified(folder)) as url:
        # All that is not the cluster's here: addresses, folders, and patience.
        document |= {
            key: value for key, value in wave_config(prometheus.url, tmp_path).items() if key != "rules"
        }
        document["alertmanagers"] = []
        document["rules"] |= {"min_history": "1m", "verify_timeout": "30s", "evaluation_interval": "1s"}
        document["rules"]["prometheus_rule"] |= {
            "api_url": url,
            "token_file": str(folder / "token"),
            "ca_file": str(folder / "ca.crt"),
        }
        document["rules"]["promtool"] = binary("promtool")
        pronoia = make_pronoia(document)
        async with Operator(api, prometheus, selector=RELEASE).working():
            await asyncio.to_thread(pronoia.start)

            def live() -> bool:
                found = get_json(pronoia.url + "/api/v1/rules")["data"]
                return [each["state"] for each in found] == ["live"]

            await asyncio.to_thread(wait_until, live, timeout=60, what="the rule is live")
            ((namespace, name),) = api.objects
            assert (namespace, name) == ("observability", "demo-pronoia-wave")
            seconds = await asyncio.to_thread(pronoia.stop)
    assert seconds < 5.0
    assert ("observability", "demo-pronoia-wave") in api.objects, "the rules outlive pronoia"


async def test_the_command_line_rolls_back_and_lists(cluster: Cluster, tmp_path: Path) -> None:
    await cluster.loop.run_once()
    (first,) = await cluster.store.revisions()
    cluster.bands = [learned(20.0)]
    await cluster.loop.run_once()
    config = tmp_path / "pronoia.yaml"
    rules = cluster.config().model_dump(mode="json", exclude_unset=True)
    config.write_text(
        yaml.safe_dump(
            {
                "prometheus": {"url": cluster.server.url},
                "store": {"directory": str(tmp_path / "data")},
                "rules": rules,
            }
        )
    )

    def command(*words: str) -> str:
        done = CliRunner().invoke(main, ["rules", *words, "--config", str(config)])
        assert done.exit_code == 0, done.output
        return done.output

    told = await asyncio.to_thread(command, "rollback", "pronoia-load")
    assert f"revision {first.content_hash} is back" in told
    await cluster.until_loaded({"pronoia-load": first.content_hash})
    listed = json.loads(await asyncio.to_thread(command, "list", "--format", "json"))
    assert [each["state"] for each in listed] == ["rolled_back", "live"]
    told = await asyncio.to_thread(command, "rollback", "pronoia-load")
    assert "is removed" in told
    await cluster.until_loaded({})
    assert cluster.api.objects == {}


OWN = {
    "apiVersion": "monitoring.coreos.com/v1",
    "kind": "PrometheusRule",
    "metadata": {"name": "own", "labels": RELEASE},
    "spec": {
        "groups": [
            {
                "name": "own",
                "interval": "1s",
                "rules": [{"alert": "LoadHigh", "expr": "load > 3", "labels": {"team": "a"}}],
            }
        ]
    },
}


async def test_peoples_own_object_is_rewritten_in_the_cluster_and_taken_back(cluster: Cluster) -> None:
    """A shadow first, then live under the alert's own name, then as it was; the operator carries each."""
    cluster.api.seed("monitoring", copy.deepcopy(OWN))
    config = cluster.config()
    rules = AdaptedRules(
        cluster.client,
        cluster.store,
        place_finder(config),
        promtool=config.promtool,
        verify_timeout_seconds=15,
    )
    (old,) = [rule for rule in await own_rules(config, cluster.client) if rule.name == "LoadHigh"]
    assert old.file == "object:monitoring/own"
    place = place_finder(config)(old.file)
    before = await place.read()
    assert before is not None
    new = replace(old, expr="load > 4")
    after = rewrite_text(before, [(old, new)])
    told = {"rules": [{"rule": old.key, "name": old.name, "firings_per_day": 0.0}]}

    shadow = await rules.shadow(
        old.file, before, after, [(old, new)], evidence=told, approver="ada", seconds=0
    )
    beside = cluster.api.one("pronoia-canary-own")
    assert beside["metadata"]["labels"].items() >= RELEASE.items(), "the operator must select the shadow, too"
    assert cluster.api.one("own")["spec"] == OWN["spec"]

    live = await rules.promote(shadow)
    assert cluster.api.one("own")["spec"]["groups"][0]["rules"][0]["expr"] == "load > 4"
    assert ("monitoring", "pronoia-canary-own") not in cluster.api.objects
    loaded = of_server(await cluster.client.rules())
    assert (await drift_of_place(live, place, loaded)).fine

    await rules.take_back(old.file, "by hand")
    assert cluster.api.one("own")["spec"] == OWN["spec"]
