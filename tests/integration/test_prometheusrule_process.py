"""PrometheusRule objects from outside: a pod, the whole process, the command line, and people's own."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from rules.adapt.adapted import AdaptedRules
from rules.adapt.change import Change
from rules.adapt.places import own_rules, place_finder
from rules.adapt.text import rewrite_text
from rules.drift import drift_of_place
from rules.kubernetes import RuleObjects
from rules.read import of_server
from sidecar.cli.main import main
from sidecar.config.model import PrometheusRuleConfig
from sidecar.errors import RuleError
from tests.integration.conftest import wave_config
from tests.integration.kubernetes_api import BASE, KubernetesApi, Operator, account, certified, serving
from tests.integration.rules_bench import learned
from tests.integration.rules_cluster import RELEASE, Cluster, make_prometheus, running
from tests.integration.servers import Prometheus, Pronoia, binary, get_json, wait_until
from tests.unit.chart.helm_chart import CHART, only, render

pytestmark = pytest.mark.integration

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


@pytest.fixture
def prometheus(tmp_path: Path, keep: Callable[..., Any]) -> Prometheus:
    return make_prometheus(tmp_path, keep)


@pytest.fixture
async def cluster(prometheus: Prometheus, tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(prometheus, tmp_path) as made:
        yield made


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

    change = Change(old.file, before, after, [(old, new)], told, "ada")
    shadow = await rules.shadow(change, seconds=0)
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
