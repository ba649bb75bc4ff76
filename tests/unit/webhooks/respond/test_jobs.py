"""Steps that are Kubernetes Jobs, and steps that follow one another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from sidecar.config.kubernetes import KubernetesConfig
from sidecar.config.response import Hook, ResponseConfig
from sidecar.errors import KubernetesError, StoreError
from sidecar.kubernetes import Cluster
from sidecar.records import Incident
from tests.integration.jobs_api import JobsApi, cronjob
from tests.unit.webhooks.respond.incidents import Clock, incident
from webhooks.respond.hooks import HookMetrics, Hooks
from webhooks.respond.jobs import JobRunner, name_of
from webhooks.respond.steps import Steps

MATCH = {"service": "db"}
JOB = {"cronjob": "restart", "namespace": "shop"}


@pytest.fixture
def api() -> Iterator[JobsApi]:
    server = JobsApi()
    yield server
    server.kill()


def hook(**fields: Any) -> Hook:
    return Hook.model_validate(
        {"name": "Restart_cart", "match": MATCH, "job": JOB, "dry_run": False, **fields}
    )


class Bench:
    """Hooks that do what they are configured to, on a clock set by hand."""

    def __init__(self, api: JobsApi, directory: Path, *hooks: Hook, token: str = "good-token") -> None:
        (directory / "token").write_text(token)
        config = KubernetesConfig(api_url=api.url, token_file=directory / "token")
        self.clock = Clock()
        self.kept: dict[str, bytes] = {}
        self.told: list[str] = []
        self.full = False
        self.steps = Steps(JobRunner(Cluster(config, environment={}), poll_seconds=0.001))
        self.config = hooks
        self.hooks = Hooks(
            hooks,
            self,
            metrics=HookMetrics(CollectorRegistry()),
            note=lambda _, __, text: self.told.append(text),
            run=self.steps.run,
            now=self.clock,
        )

    async def note(self, name: str) -> bytes | None:
        return self.kept.get(name)

    async def put_note(self, name: str, body: bytes) -> None:
        if self.full:
            raise StoreError("the disk is full")
        self.kept[name] = body

    async def act(self, hook: Hook, one: Incident | None = None) -> str:
        return await self.hooks.act(hook, one or incident(priority="P1"))


async def test_a_job_is_made_of_the_template_with_the_incident_and_watched(
    api: JobsApi, tmp_path: Path
) -> None:
    one = incident(priority="P1", shared_labels={"service": "db", "x": "$(HOME)"})
    bench = Bench(api, tmp_path, hook())
    assert await bench.act(hook(), one) == "ok"
    ((name, job),) = api.jobs.items()
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["kubectl", "rollout", "restart", "deploy/cart"], "only what is there runs"
    assert {e["name"]: e["value"] for e in container["env"]} == {
        "PRONOIA_INCIDENT_ID": "i1",
        "PRONOIA_PRIORITY": "P1",
        "PRONOIA_CAUSE": "db",
        "PRONOIA_LABELS": '{"service": "db", "x": "$$(HOME)"}',
    }
    assert job["metadata"]["labels"] == {"team": "shop", "app.kubernetes.io/managed-by": "pronoia"}
    assert (job["spec"]["activeDeadlineSeconds"], job["spec"]["ttlSecondsAfterFinished"]) == (30, 86400)
    assert bench.told == [f"Restart_cart: Job shop/{name} is complete"]


async def test_the_templates_own_limits_stay(api: JobsApi, tmp_path: Path) -> None:
    api.cronjobs["restart"] = cronjob(activeDeadlineSeconds=5, ttlSecondsAfterFinished=7)
    await Bench(api, tmp_path, hook()).act(hook())
    (job,) = api.jobs.values()
    assert (job["spec"]["activeDeadlineSeconds"], job["spec"]["ttlSecondsAfterFinished"]) == (5, 7)


async def test_a_try_whose_answer_never_came_makes_no_second_job(api: JobsApi, tmp_path: Path) -> None:
    runner = JobRunner(
        Cluster(KubernetesConfig(api_url=api.url, token_file=_token(tmp_path))), poll_seconds=0.001
    )
    one, given = incident(priority="P1"), hook()
    assert given.job is not None
    first = await runner.run(given, given.job, one)
    assert await runner.run(given, given.job, one) == first
    assert len(api.jobs) == 1


def _wrong_token(api: JobsApi) -> None:
    api.token = "another"


def _fails(api: JobsApi) -> None:
    api.outcome = "Failed"


def _no_template(api: JobsApi) -> None:
    api.cronjobs["restart"] = {"metadata": {"name": "restart"}, "spec": {}}


def _invalid(api: JobsApi) -> None:
    del api.cronjobs["restart"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["name"]


@pytest.mark.parametrize(
    ("fault", "words", "n_jobs"),
    [
        pytest.param(_wrong_token, "Unauthorized", 0, id="wrong token"),
        pytest.param(lambda api: api.cronjobs.clear(), "not found", 0, id="no such CronJob"),
        pytest.param(lambda api: api.verbs.discard(("create", "jobs")), "the Role of", 0, id="not allowed"),
        pytest.param(_no_template, "no jobTemplate", 0, id="no template"),
        pytest.param(_invalid, "is invalid", 0, id="refused by the schema"),
        pytest.param(_fails, "BackoffLimitExceeded", 1, id="the Job fails"),
    ],
)
async def test_what_goes_wrong_is_a_failure_and_on_the_timeline(
    api: JobsApi, tmp_path: Path, fault: Callable[[JobsApi], None], words: str, n_jobs: int
) -> None:
    fault(api)
    bench = Bench(api, tmp_path, hook())
    assert await bench.act(hook()) == "failed"
    assert words in bench.told[0]
    assert len(api.jobs) == n_jobs


async def test_a_job_that_does_not_end_is_waited_for_no_longer_than_its_hook_says(
    api: JobsApi, tmp_path: Path
) -> None:
    api.outcome = ""
    given = hook(timeout=0.3)
    bench = Bench(api, tmp_path, given)
    assert await bench.act(given) == "failed"
    assert "no answer within" in bench.told[0]


async def test_jobs_that_fail_stop_their_hook(api: JobsApi, tmp_path: Path) -> None:
    api.outcome = "Failed"
    given = hook(cooldown=1, max_failures=2)
    bench = Bench(api, tmp_path, given)
    outcomes = []
    for n in range(3):
        outcomes.append(await bench.act(given, incident(f"i{n}", priority="P1")))
        bench.clock.now += 10
    assert outcomes == ["failed", "failed", "stopped"]
    assert len(api.jobs) == 2


async def test_a_dry_job_and_one_for_others_make_nothing(api: JobsApi, tmp_path: Path) -> None:
    dry = hook(dry_run=True)
    assert await Bench(api, tmp_path, dry).act(dry) == "dry"
    other = hook(match={"service": "web"})
    assert await Bench(api, tmp_path, other).act(other) == ""
    assert (api.jobs, api.requests) == ({}, [])


async def test_a_step_follows_where_the_one_before_did_not_help(api: JobsApi, tmp_path: Path) -> None:
    api.cronjobs["scale"] = cronjob("scale")
    first = hook(name="restart")
    then = hook(name="scale", after="restart", wait=300, job={"cronjob": "scale", "namespace": "shop"})
    bench = Bench(api, tmp_path, first, then)
    assert await bench.act(then) == "", "not before the first"
    assert await bench.act(first) == "ok"
    bench.clock.now += 299
    assert await bench.act(then) == "", "it is given its time"
    assert await bench.act(then, incident("i2", priority="P1")) == "", "the first ran for another incident"
    bench.clock.now += 1
    assert await bench.act(then, incident(priority="P1", state="resolved")) == "", "it helped"
    assert await bench.act(then) == "ok"
    assert len(api.jobs) == 2


async def test_what_cannot_be_written_down_is_not_begun_and_tried_again(api: JobsApi, tmp_path: Path) -> None:
    bench = Bench(api, tmp_path, hook())
    bench.full = True
    with pytest.raises(StoreError):
        await bench.act(hook())
    assert api.jobs == {}
    bench.full = False
    assert await bench.act(hook()) == "ok"


@pytest.mark.parametrize("name", ["restart", "A.b_C" * 20, "---"])
def test_names_of_jobs(name: str) -> None:
    given = hook(name=name)
    made = name_of(given, incident())
    assert len(made) <= 63
    assert made.replace("-", "").isalnum()
    assert made[-1].isalnum()
    assert made != name_of(given, incident("i2"))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        pytest.param([{"job": JOB, "url": "http://x"}], "exactly one", id="two deeds"),
        pytest.param([{}], "exactly one", id="no deed"),
        pytest.param([{"job": {"cronjob": "../secrets"}}], "pattern", id="no name of Kubernetes'"),
        pytest.param(
            [{"job": JOB, "after": "b"}, {"name": "b", "job": JOB}], "no hook above", id="after one below"
        ),
    ],
)
def test_what_is_no_hook(fields: list[dict[str, Any]], words: str) -> None:
    hooks = [{"name": "a", "match": MATCH, **one} for one in fields]
    with pytest.raises(ValueError, match=words):
        ResponseConfig.model_validate({"hooks": hooks})


async def test_outside_of_a_cluster_it_says_so(tmp_path: Path) -> None:
    cluster = Cluster(KubernetesConfig(), environment={}, account=tmp_path)
    with pytest.raises(KubernetesError, match="not inside a cluster"):
        await cluster.request("GET", "/x")
    with pytest.raises(KubernetesError, match="name a namespace"):
        cluster.own_namespace()
    inside = Cluster(
        KubernetesConfig(), environment={"KUBERNETES_SERVICE_HOST": "127.0.0.1"}, account=tmp_path
    )
    with pytest.raises(KubernetesError, match="service account"):
        await inside.request("GET", "/x")


def _token(directory: Path) -> Path:
    (directory / "token").write_text("good-token\n")
    return directory / "token"
