"""The examples: those for our chart render, those for the neighbours' charts fit what ours makes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from sidecar.cli.main import main
from sidecar.cli.options import ENVIRONMENT_FILE
from sidecar.config.load import load_text
from sidecar.store import maintenance
from sidecar.store.connection import FILE
from tests.integration.servers import binary
from tests.unit.chart.helm_chart import CHART, of_kind, only, render

pytestmark = pytest.mark.integration

EXAMPLES = CHART / "examples"
OURS = ("in-prometheus", "in-prometheus-rules", "kube-prometheus-stack-beside", "ruler-beside")
THEIRS = ("kube-prometheus-stack-alertmanager", "kube-prometheus-stack-sidecar", "prometheus-chart-sidecar")
JOB = "restore-job"
inside = pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        pytest.param("kube-prometheus-stack-sidecar", "in-prometheus", id="operator"),
        pytest.param("prometheus-chart-sidecar", "in-prometheus-rules", id="plain chart"),
    ],
)


def load(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())


def container_and_volumes(name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    values = load(name)
    if "prometheus" in values:
        spec = values["prometheus"]["prometheusSpec"]
        (container,) = spec["containers"]
        return container, spec["volumes"]
    ((container_name, container),) = values["server"]["sidecarContainers"].items()
    return {"name": container_name, **container}, values["server"]["extraVolumes"]


def scrape_jobs(name: str) -> list[dict[str, Any]]:
    values = load(name)
    if "prometheus" in values:
        return list(values["prometheus"]["prometheusSpec"]["additionalScrapeConfigs"])
    return list(yaml.safe_load(values["extraScrapeConfigs"]))


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.yaml")} == {*OURS, *THEIRS, JOB}


def test_the_restoring_job_has_the_volume_and_the_rights_of_the_pod(tmp_path: Path) -> None:
    job = load(JOB)
    kubernetes_validate.validate(job, "1.34", strict=True)
    pod = job["spec"]["template"]["spec"]
    deployed = only(render("--set", "fullnameOverride=pronoia"), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"] == deployed["securityContext"]
    (container,) = pod["containers"]
    assert container["securityContext"] == deployed["containers"][0]["securityContext"]
    for volume, mount in zip(pod["volumes"], container["volumeMounts"], strict=True):
        assert volume in deployed["volumes"]
        assert mount in deployed["containers"][0]["volumeMounts"]
    maintenance.migrate(tmp_path / FILE)
    maintenance.backup(tmp_path / FILE, tmp_path / "before.db")
    words = [word.replace("/var/lib/pronoia", str(tmp_path)) for word in container["args"]]
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 0, answer.output
    assert (tmp_path / f"{FILE}.before-restore").exists()


@pytest.mark.parametrize("name", OURS)
def test_values_of_our_chart_render_and_load(name: str) -> None:
    objects = render(values=EXAMPLES / f"{name}.yaml")
    load_text(only(objects, "ConfigMap")["data"]["pronoia.yaml"])


@inside
def test_container_inside_prometheus_is_a_valid_pod(theirs: str, ours: str) -> None:
    container, volumes = container_and_volumes(theirs)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "prometheus"},
        "spec": {"containers": [container], "volumes": volumes},
    }
    kubernetes_validate.validate(pod, "1.34", strict=True)
    objects = render(values=EXAMPLES / f"{ours}.yaml")
    config = load_text(only(objects, "ConfigMap")["data"]["pronoia.yaml"])
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert container["args"] == ["run", "--config", "/etc/pronoia/pronoia.yaml"]
    assert container["env"] == [{"name": ENVIRONMENT_FILE, "value": "/etc/pronoia/pronoia.yaml"}]
    assert set(mounts.values()) == {volume["name"] for volume in volumes}
    assert str(config.store.directory) in mounts
    if config.rules.directory:
        assert str(config.rules.directory) in mounts
    source = next(volume for volume in volumes if volume["name"] == mounts["/etc/pronoia"])
    assert source["configMap"]["name"] == only(objects, "ConfigMap")["metadata"]["name"]


@pytest.mark.parametrize("name", ["kube-prometheus-stack-beside", "in-prometheus"])
def test_rules_and_scrapes_carry_what_kube_prometheus_stack_selects_by(name: str) -> None:
    objects = render(values=EXAMPLES / f"{name}.yaml")
    rules = load_text(only(objects, "ConfigMap")["data"]["pronoia.yaml"]).rules
    release = "kube-prometheus-stack"
    assert rules.publish == "prometheus_rule"
    assert rules.prometheus_rule.labels == {"release": release}
    monitors = of_kind(objects, "ServiceMonitor")
    assert [each["metadata"]["labels"]["release"] for each in monitors] == [release] * len(monitors)
    assert len(monitors) == (name == "kube-prometheus-stack-beside")


def test_shared_rules_volume_is_what_prometheus_loads() -> None:
    values = load("prometheus-chart-sidecar")
    objects = render(values=EXAMPLES / "in-prometheus-rules.yaml")
    directory = load_text(only(objects, "ConfigMap")["data"]["pronoia.yaml"]).rules.directory
    (prometheus_mount,) = values["server"]["extraVolumeMounts"]
    assert prometheus_mount["mountPath"] == str(directory)
    assert f"{directory}/*.rules.yaml" in values["serverFiles"]["prometheus.yml"]["rule_files"]
    assert "web.enable-lifecycle" in values["server"]["extraFlags"]


@pytest.mark.parametrize("name", ["kube-prometheus-stack-sidecar", "prometheus-chart-sidecar"])
def test_scrape_jobs_are_accepted_by_prometheus(name: str, tmp_path: Path) -> None:
    jobs = scrape_jobs(name)
    assert {job.get("metrics_path", "/metrics"): job.get("honor_labels", False) for job in jobs} == {
        "/metrics": False,
        "/synthetic": True,
    }
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump({"scrape_configs": jobs}))
    done = subprocess.run([binary("promtool"), "check", "config", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_receiver_is_accepted_by_alertmanager_and_names_our_service(tmp_path: Path) -> None:
    config = load("kube-prometheus-stack-alertmanager")["alertmanager"]["config"]
    path = tmp_path / "alertmanager.yml"
    path.write_text(yaml.safe_dump(config))
    amtool = shutil.which("amtool")
    assert amtool, "amtool comes with Alertmanager: apt-get install prometheus-alertmanager"
    done = subprocess.run([amtool, "check-config", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    objects = render(
        "--set", "fullnameOverride=pronoia", values=EXAMPLES / "kube-prometheus-stack-beside.yaml"
    )
    service = only(objects, "Service")
    (webhook,) = config["receivers"][0]["webhook_configs"]
    host, _, path_of = webhook["url"].removeprefix("http://").partition("/")
    assert host == f"{service['metadata']['name']}.monitoring.svc:{service['spec']['ports'][0]['port']}"
    assert path_of == "webhooks/alertmanager"
    assert config["route"]["routes"][0]["continue"] is True
