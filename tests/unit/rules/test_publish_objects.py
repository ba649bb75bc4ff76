"""PrometheusRule objects: put, verified, put back; nobody else's touched; every refusal says what to do."""

from __future__ import annotations

import copy
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from rules.document import RuleFile
from rules.kubernetes import RuleObjects
from rules.metrics import RuleMetrics
from rules.publish_objects import ROUNDS, ObjectPublisher, essence, object_name
from rules.publisher import Found
from rules.revise import Reviser
from sidecar.config.model import PrometheusRuleConfig, StoreConfig
from sidecar.errors import KubernetesError, KubernetesReason, RuleError
from sidecar.events import EventBus
from sidecar.kubernetes import Answer, Cluster
from sidecar.prometheus.answers import Rule
from sidecar.store.sqlite import SqliteStore
from tests.integration.kubernetes_api import KubernetesApi, Object, account, serving
from tests.unit.rules.bands import LoadingServer, golden

FILE = golden("flat")
NAME = "pronoia-golden-flat"


class OperatedServer(LoadingServer):
    """A Prometheus whose operator is at once done with every object."""

    def __init__(self, api: KubernetesApi) -> None:
        super().__init__(Path("/nowhere"))
        self.api = api

    async def rules(self) -> list[Rule]:
        if self.blind:
            return []
        return [
            self._rule(rule, group["name"], "file")
            for each in self.api.objects.values()
            for group in each["spec"]["groups"]
            for rule in group["rules"]
        ]


class Bench:
    """An API, a Prometheus behind it, and the publisher between."""

    def __init__(self, api: KubernetesApi, url: str, folder: Path) -> None:
        self.api, self.folder, self.url = api, folder, url
        self.server = OperatedServer(api)
        self.seconds = 0.0
        self.publisher = self.make()

    def make(self, **config: object) -> ObjectPublisher:
        stated = PrometheusRuleConfig.model_validate(
            {
                "labels": {"release": "kps"},
                "api_url": self.url,
                "token_file": self.folder / "token",
                **config,
            }
        )

        def monotonic() -> float:
            self.seconds += 1.0
            return self.seconds

        return ObjectPublisher(
            stated,
            RuleObjects(stated, account=self.folder, pause_seconds=0.0),
            self.server,
            verify_timeout_seconds=6.0,
            poll_seconds=0.0,
            monotonic=monotonic,
        )


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    api = KubernetesApi()
    async with serving(api) as url:
        yield Bench(api, url, account(tmp_path))


def changed(file: RuleFile, revision: str = "other") -> RuleFile:
    """The same group in another revision."""
    text = file.text.replace(file.revision, revision).replace("vector(11)", "vector(12)")
    assert text != file.text
    return RuleFile(file.group, file.file_name, revision, text)


async def test_published_it_carries_the_rules_the_labels_and_the_mark(bench: Bench) -> None:
    await bench.publisher.publish(FILE)
    made = bench.api.one(NAME)
    assert made["spec"] == yaml.safe_load(FILE.text)
    assert made["metadata"]["labels"] == {
        "release": "kps",
        "app.kubernetes.io/managed-by": "pronoia",
        "pronoia/instance": "pronoia",
    }
    assert made["metadata"]["annotations"] == {
        "pronoia/group": FILE.group,
        "pronoia/revision": FILE.revision,
    }
    assert await bench.publisher.found(FILE.group, FILE.text) is Found.SAME
    assert await bench.publisher.found(FILE.group, changed(FILE).text) is Found.OTHER
    assert await bench.publisher.found("pronoia-nothing", FILE.text) is Found.ABSENT


async def test_published_again_it_is_the_same_object_with_others_notes_kept(bench: Bench) -> None:
    await bench.publisher.publish(FILE)
    first = bench.api.one(NAME)
    first["metadata"]["annotations"]["prometheus-operator-validated"] = "true"
    first["metadata"]["ownerReferences"] = [{"kind": "Deployment", "name": "pronoia"}]
    await bench.publisher.publish(changed(FILE))
    second = bench.api.one(NAME)
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert second["metadata"]["annotations"]["prometheus-operator-validated"] == "true"
    assert second["metadata"]["ownerReferences"] == first["metadata"]["ownerReferences"]
    assert second["metadata"]["annotations"]["pronoia/revision"] == "other"
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])


async def test_not_shown_by_prometheus_a_new_object_goes_again(bench: Bench) -> None:
    bench.server.blind = True
    with pytest.raises(RuleError, match=r"ruleSelector match release=kps.*ruleNamespaceSelector") as caught:
        await bench.publisher.publish(FILE)
    assert caught.value.reason == "not_loaded"
    assert bench.api.objects == {}


async def test_not_healthy_the_object_before_comes_back(bench: Bench) -> None:
    await bench.publisher.publish(FILE)
    good = copy.deepcopy(bench.api.one(NAME))
    bench.server.errors[FILE.group] = "many-to-many matching not allowed"
    with pytest.raises(RuleError, match="many-to-many") as caught:
        await bench.publisher.publish(changed(FILE))
    assert caught.value.reason == "unhealthy"
    assert bench.api.one(NAME)["spec"] == good["spec"]
    assert bench.api.one(NAME)["metadata"]["annotations"] == good["metadata"]["annotations"]


async def test_a_bad_text_left_by_a_broken_roll_back_is_not_what_comes_back(bench: Bench) -> None:
    bench.server.errors[FILE.group] = "boom"
    await bench.publisher.restore(FILE.group, FILE.text)
    with pytest.raises(RuleError, match="boom"):
        await bench.publisher.publish(FILE)
    assert bench.api.objects == {}


async def test_an_answer_that_got_lost_does_not_make_the_new_one_the_one_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.publisher.publish(FILE)
    exchange, lost = Cluster.exchange, []

    async def losing(self: Cluster, method: str, *rest: Any) -> Answer:
        answer = await exchange(self, method, *rest)
        if method == "PUT" and not lost:
            lost.append(method)
            raise KubernetesError(KubernetesReason.UNREACHABLE, "connection reset")
        return answer

    monkeypatch.setattr(Cluster, "exchange", losing)
    bench.server.errors[FILE.group] = "boom"
    with pytest.raises(RuleError, match="boom"):
        await bench.publisher.publish(changed(FILE))
    assert lost
    assert bench.api.one(NAME)["spec"] == yaml.safe_load(FILE.text)


async def test_a_roll_back_that_does_not_get_through_says_both(bench: Bench) -> None:
    bench.server.errors[FILE.group] = "boom"
    bench.api.verbs.discard("delete")
    with pytest.raises(
        RuleError, match=r"boom; and what was there before cannot be put back: .*cannot delete"
    ):
        await bench.publisher.publish(FILE)


@pytest.mark.parametrize("labels", [{}, {"pronoia/instance": "another"}], ids=["unmarked", "another pronoia"])
async def test_what_is_not_ours_is_never_touched(bench: Bench, labels: dict[str, str]) -> None:
    theirs = bench.api.seed(
        "monitoring",
        {
            "metadata": {
                "name": NAME,
                "labels": labels,
                "annotations": {"pronoia/group": FILE.group},
            },
            "spec": {"groups": []},
        },
    )
    before = copy.deepcopy(theirs)
    assert await bench.publisher.found(FILE.group, FILE.text) is Found.ABSENT
    await bench.publisher.restore(FILE.group, None)
    with pytest.raises(RuleError, match="belongs to somebody else") as caught:
        await bench.publisher.publish(FILE)
    assert caught.value.reason == "not_ours"
    assert bench.api.one(NAME) == before
    assert {method for method, _ in bench.api.requests} == {"GET"}


def touch(api: KubernetesApi) -> Callable[[], None]:
    """Somebody else writes first."""
    return lambda: api.seed("monitoring", api.one(NAME)) and None


async def test_a_conflict_is_read_again_and_won(bench: Bench) -> None:
    await bench.publisher.publish(FILE)
    bench.api.before_write = [touch(bench.api), touch(bench.api)]
    await bench.publisher.publish(changed(FILE))
    assert bench.api.one(NAME)["metadata"]["annotations"]["pronoia/revision"] == "other"
    bench.api.before_write = [touch(bench.api)]
    await bench.publisher.restore(FILE.group, None)
    assert bench.api.objects == {}


async def test_an_object_deleted_meanwhile_is_made_anew(bench: Bench) -> None:
    await bench.publisher.publish(FILE)
    bench.api.before_write = [bench.api.objects.clear]
    await bench.publisher.publish(changed(FILE))
    assert await bench.publisher.found(FILE.group, changed(FILE).text) is Found.SAME


async def test_an_object_made_meanwhile_is_looked_at_first(bench: Bench) -> None:
    theirs: Object = {"metadata": {"name": NAME}, "spec": {"groups": []}}
    bench.api.before_write = [lambda: bench.api.seed("monitoring", theirs) and None]
    with pytest.raises(RuleError, match="somebody else"):
        await bench.publisher.publish(FILE)
    assert bench.api.one(NAME)["spec"] == {"groups": []}


async def test_an_object_that_changes_hands_before_its_deletion_is_left(bench: Bench) -> None:
    await bench.publisher.publish(FILE)
    theirs = copy.deepcopy(bench.api.one(NAME))
    theirs["metadata"]["labels"]["pronoia/instance"] = "another"
    bench.api.before_write = [lambda: bench.api.seed("monitoring", theirs) and None]
    await bench.publisher.restore(FILE.group, None)
    assert bench.api.one(NAME)["metadata"]["labels"]["pronoia/instance"] == "another"


async def test_a_conflict_without_end_is_said(bench: Bench) -> None:
    await bench.publisher.publish(FILE)
    good = copy.deepcopy(bench.api.one(NAME)["spec"])
    bench.api.before_write = [touch(bench.api)] * ROUNDS
    with pytest.raises(RuleError, match="managedFields") as caught:
        await bench.publisher.publish(changed(FILE))
    assert caught.value.reason == "conflict"
    assert bench.api.one(NAME)["spec"] == good


@pytest.mark.parametrize(
    ("spoil", "reason", "words"),
    [
        pytest.param(lambda b: setattr(b.api, "token", "new"), "unauthorized", "token", id="401"),
        pytest.param(
            lambda b: b.api.verbs.discard("create"), "unauthorized", r"cannot create.*Role", id="403"
        ),
        pytest.param(lambda b: setattr(b.api, "installed", False), "not_installed", "CRDs", id="404 no CRD"),
        pytest.param(
            lambda b: setattr(b.api, "admit", lambda _: "Rules are not valid"),
            "check_failed",
            "denied the request: Rules are not valid",
            id="400 webhook",
        ),
        pytest.param(
            lambda b: setattr(
                b.api, "mutate", lambda body: body["spec"]["groups"][0].update(interval="1 hour")
            ),
            "check_failed",
            r"spec.groups\[0\].interval Invalid value: '1 hour'",
            id="422 schema",
        ),
        pytest.param(lambda b: b.api.failures.extend([500] * 3), "unreachable", "500.*tried again", id="5xx"),
        pytest.param(lambda b: b.api.failures.extend([429] * 3), "unreachable", "429", id="429"),
        pytest.param(
            lambda b: b.api.failures.append(403), "not_writable", "policy or quota", id="403 policy"
        ),
    ],
)
async def test_each_refusal_has_its_reason_and_what_to_do(
    bench: Bench, spoil: Callable[[Bench], None], reason: str, words: str
) -> None:
    spoil(bench)
    with pytest.raises(RuleError, match=re.compile(words, re.S)) as caught:
        await bench.publisher.publish(FILE)
    assert caught.value.reason == reason
    assert bench.api.objects == {}


async def test_a_short_failure_of_the_api_is_waited_out(bench: Bench) -> None:
    bench.api.failures = [503, 500]
    await bench.publisher.publish(FILE)
    assert NAME in {name for _, name in bench.api.objects}


async def test_nobody_there_says_where_it_looked(tmp_path: Path) -> None:
    config = PrometheusRuleConfig(api_url="http://127.0.0.1:1", namespace="monitoring")
    with pytest.raises(RuleError, match=r"127\.0\.0\.1:1.*NetworkPolicy") as caught:
        await RuleObjects(config, pause_seconds=0.0).get("x")
    assert caught.value.reason == "unreachable"


async def test_a_rotated_token_is_read_again(bench: Bench) -> None:
    await bench.publisher.publish(FILE)
    bench.api.token = "rotated"
    account(bench.folder, token="rotated")
    assert await bench.publisher.found(FILE.group, FILE.text) is Found.SAME


async def test_new_labels_in_the_configuration_are_a_difference(bench: Bench) -> None:
    await bench.publisher.publish(FILE)
    bench.api.one(NAME)["metadata"]["labels"]["policy"] = "added by a webhook"
    assert await bench.publisher.found(FILE.group, FILE.text) is Found.SAME
    relabelled = bench.make(labels={"release": "other"})
    assert await relabelled.found(FILE.group, FILE.text) is Found.OTHER
    assert await relabelled.says_one_of(FILE.group, ["groups: []", FILE.text])
    assert not await relabelled.says_one_of(FILE.group, [changed(FILE).text])


async def test_new_labels_in_the_configuration_are_no_edit_by_hand(bench: Bench, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    store = await SqliteStore.open(StoreConfig(directory=tmp_path / "data"), registry=registry)

    def reviser(publisher: ObjectPublisher) -> Reviser:
        told = RuleMetrics(CollectorRegistry())
        return Reviser(publisher, store, bus=EventBus(), metrics=told, promtool="none")

    try:
        await reviser(bench.publisher).publish(FILE, {}, None)
        later = reviser(bench.make(labels={"release": "other"}))
        assert await later.in_place(FILE.group, await later.history(FILE.group)) is Found.OTHER
        await later.recover()
        assert bench.api.one(NAME)["metadata"]["labels"]["release"] == "other"
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        pytest.param({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "https://10.0.0.1:443", id="IPv4"),
        pytest.param(
            {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"},
            "https://[fd00::1]:6443",
            id="IPv6",
        ),
    ],
)
def test_inside_a_pod_the_cluster_is_found(environment: dict[str, str], url: str, tmp_path: Path) -> None:
    folder = account(tmp_path)
    import certifi

    (folder / "ca.crt").write_text(Path(certifi.where()).read_text())
    objects = RuleObjects(PrometheusRuleConfig(), environment=environment, account=folder)
    found, headers, tls = objects._cluster._approach()
    assert found == url
    assert headers["Authorization"] == "Bearer good-token"
    assert tls is not None
    assert tls.check_hostname
    assert objects.namespace() == "monitoring"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        pytest.param({}, "not inside a cluster", id="no cluster"),
        pytest.param(
            {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "automountServiceAccountToken", id="no token mounted"
        ),
    ],
)
async def test_without_a_cluster_or_a_token_that_is_said(
    environment: dict[str, str], words: str, tmp_path: Path
) -> None:
    config = PrometheusRuleConfig(namespace="monitoring")
    with pytest.raises(RuleError, match=words):
        await RuleObjects(config, environment=environment, account=tmp_path / "none").get("x")


QUERY_NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,300}", fullmatch=True)


@given(first=QUERY_NAMES, second=QUERY_NAMES)
def test_every_query_has_a_valid_name_of_its_own(first: str, second: str) -> None:
    names = [object_name("pronoia", f"pronoia-{each}") for each in (first, second)]
    for name in names:
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name)
        assert len(name) <= 253
    assert (names[0] == names[1]) == (first == second)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        pytest.param("cdn_error_ratio", "pronoia-cdn-error-ratio", id="underscores"),
        pytest.param("a__b", "pronoia-a--b", id="runs"),
        pytest.param("CDN", "pronoia-cdn-5543b4d3", id="capitals"),
        pytest.param("__", "pronoia-9911f4d2", id="nothing left"),
    ],
)
def test_names_stay_readable(query: str, name: str) -> None:
    assert object_name("pronoia", f"pronoia-{query}") == name


def test_the_apis_defaults_make_no_difference() -> None:
    spec = yaml.safe_load(FILE.text)
    defaulted = copy.deepcopy(spec)
    defaulted["groups"][0] |= {"labels": {}, "limit": 0}
    defaulted["groups"][0]["rules"][0] |= {"annotations": {}, "keep_firing_for": ""}
    assert essence(defaulted) == essence(spec)
    defaulted["groups"][0]["interval"] = "60s"
    assert essence(defaulted) == essence(spec), "a ruler writes durations in its own way"
    defaulted["groups"][0]["rules"][-1]["labels"]["severity"] = "page"
    assert essence(defaulted) != essence(spec)


@pytest.mark.parametrize("said", [{"limit": 3}, {"labels": {"team": "a"}}, {"query_offset": "30s"}], ids=str)
def test_what_people_say_of_a_whole_group_is_a_difference(said: Object) -> None:
    spec = yaml.safe_load(FILE.text)
    edited = copy.deepcopy(spec)
    edited["groups"][0] |= said
    assert essence(edited) != essence(spec)
