"""The chart, rendered by a real Helm: valid objects, a loadable configuration, refusals that help."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from sidecar.cli.main import main
from sidecar.cli.options import ENVIRONMENT_FILE
from sidecar.config.load import load_text
from sidecar.config.model import Config
from tests.integration.kubernetes_api import VERBS
from tests.integration.servers import binary
from tests.unit.chart.helm_chart import CHART, CI_VALUES, NAMESPACE, ci, helm, of_kind, only, render

pytestmark = pytest.mark.integration

KUBERNETES = ("1.25", "1.34")
CUSTOM = {
    kind: json.loads((Path(__file__).parent / f"{kind.lower()}.schema.json").read_text())
    for kind in ("ServiceMonitor", "HTTPRoute")
}
ENV = {"PROMETHEUS_PASSWORD": "not-a-real-one"}
each_option = pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.name[: -len("-values.yaml")])


def pod_of(objects: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return dict(only(objects, "Deployment")["spec"]["template"]["spec"])


def config_of(objects: tuple[dict[str, Any], ...]) -> Config:
    (text,) = (
        each["data"]["pronoia.yaml"]
        for each in of_kind(objects, "ConfigMap")
        if "pronoia.yaml" in each["data"]
    )
    return load_text(text, env=ENV)


@each_option
def test_lint_has_nothing_to_say(values: Path) -> None:
    done = helm("lint", "--strict", str(CHART), "-f", str(values))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@each_option
def test_objects_are_valid_kubernetes(values: Path) -> None:
    objects = render(values=values)
    assert objects
    for each in objects:
        if each["kind"] in CUSTOM:
            jsonschema.validate(each, CUSTOM[each["kind"]])
            continue
        if each["kind"] == "PrometheusRule":
            continue  # A kind of the operator's; promtool has checked its rules where the pack is tested.
        for version in KUBERNETES:
            kubernetes_validate.validate(each, version, strict=True)


@each_option
def test_every_object_is_named_and_labelled(values: Path) -> None:
    for each in render(values=values):
        labels = each["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert len(each["metadata"]["name"]) <= 63
        assert each["metadata"]["namespace"] in (NAMESPACE, "monitoring")


@each_option
def test_config_map_loads_as_pronoias_configuration(values: Path) -> None:
    config = config_of(render(values=values))
    assert config.server.listen.endswith(":9469")
    assert str(config.store.directory) == "/var/lib/pronoia"


@each_option
def test_containers_are_confined(values: Path) -> None:
    objects = render(values=values)
    pods = [each["spec"]["template"]["spec"] for each in of_kind(objects, "Deployment")]
    pods += [each["spec"] for each in of_kind(objects, "Pod")]
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}


@each_option
def test_mounts_and_volumes_fit(values: Path) -> None:
    objects = render(values=values)
    if not of_kind(objects, "Deployment"):
        assert "mode: inPrometheus" in values.read_text()
        return
    pod = pod_of(objects)
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
    assert volumes == mounted
    paths = [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    config = config_of(objects)
    for needed in (config.store.directory, config.rules.directory):
        if needed is not None:
            assert str(needed) in paths


def test_container_runs_a_command_that_exists() -> None:
    container = pod_of(render())["containers"][0]
    assert container["args"] == ["run", "--config", "/etc/pronoia/pronoia.yaml"]
    assert "command" not in container
    assert {"name": ENVIRONMENT_FILE, "value": "/etc/pronoia/pronoia.yaml"} in container["env"]
    assert {
        "name": "config",
        "mountPath": "/etc/pronoia/pronoia.yaml",
        "subPath": "pronoia.yaml",
    }.items() <= (container["volumeMounts"][0].items())
    answer = CliRunner().invoke(main, ["run", "--help"])
    assert answer.exit_code == 0, answer.output
    assert "--config" in answer.output


def test_probes_ask_the_contract_paths() -> None:
    container = pod_of(render())["containers"][0]
    paths = {
        name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")
    }
    assert paths == {"startup": "/-/healthy", "liveness": "/-/healthy", "readiness": "/-/ready"}


def test_a_pod_that_serves_https_is_asked_by_https() -> None:
    objects = render(values=ci("tls"))
    container = pod_of(objects)["containers"][0]
    assert {
        container[f"{name}Probe"]["httpGet"]["scheme"] for name in ("startup", "liveness", "readiness")
    } == {"HTTPS"}
    for page in only(objects, "ServiceMonitor")["spec"]["endpoints"]:
        assert page["scheme"] == "https"
        assert page["tlsConfig"]["serverName"] == "pronoia.monitoring.svc"
        assert page["authorization"] == {"credentials": {"name": "pronoia-tls", "key": "token"}}
    assert "https://demo-pronoia:9469" in only(objects, "Pod")["spec"]["containers"][0]["command"][-1]


def test_a_long_migration_is_not_killed_over_and_over() -> None:
    """Nothing is answered until the database has its schema; on a slow disk millions of alerts take long."""
    startup = pod_of(render())["containers"][0]["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600


def test_it_listens_where_pods_have_ipv6_addresses_only() -> None:
    assert config_of(render()).server.listen == ":9469"


def test_an_ingress_leads_to_our_service() -> None:
    objects = render(values=ci("ingress"))
    ingress, service = only(objects, "Ingress")["spec"], only(objects, "Service")
    assert ingress["ingressClassName"] == "nginx"
    assert [rule["host"] for rule in ingress["rules"]] == ["pronoia.example.com", "foresight.example.com"]
    for rule in ingress["rules"]:
        (path,) = rule["http"]["paths"]
        assert (path["path"], path["pathType"]) == ("/", "Prefix")
        port = {"name": service["spec"]["ports"][0]["name"]}
        assert path["backend"] == {"service": {"name": service["metadata"]["name"], "port": port}}


def test_a_route_of_a_gateway_leads_to_our_service() -> None:
    objects = render(values=ci("http-route"))
    route, service = only(objects, "HTTPRoute"), only(objects, "Service")
    assert route["metadata"]["annotations"] == {"example.com/owner": "sre"}
    assert route["spec"]["parentRefs"] == [
        {"name": "public", "namespace": "gateways", "sectionName": "https"}
    ]
    assert route["spec"]["hostnames"] == ["pronoia.example.com"]
    (rule,) = route["spec"]["rules"]
    port = service["spec"]["ports"][0]["port"]
    assert port == 80
    assert rule["backendRefs"] == [{"name": service["metadata"]["name"], "port": port}]


def test_files_from_elsewhere_are_where_the_configuration_names_them() -> None:
    objects = render(values=ci("extra-volumes"))
    pod = pod_of(objects)
    container = pod["containers"][0]
    graph = config_of(objects).webhook.topology_file
    assert graph is not None
    assert str(graph.parent) in [mount["mountPath"] for mount in container["volumeMounts"]]
    assert {"name": "topology", "configMap": {"name": "service-graph"}} in pod["volumes"]
    assert container["envFrom"] == [{"secretRef": {"name": "pronoia-environment"}}]


def test_the_connection_test_runs_where_the_pod_may_run() -> None:
    objects = render(values=ci("scheduling"))
    pod, test = pod_of(objects), only(objects, "Pod")["spec"]
    assert (test["nodeSelector"], test["tolerations"]) == (pod["nodeSelector"], pod["tolerations"])
    assert set(test["containers"][0]["resources"]) == {"requests", "limits"}, "for a namespace with a quota"


def test_one_writer_owns_the_volume() -> None:
    spec = only(render(), "Deployment")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    assert only(render(), "PersistentVolumeClaim")["metadata"]["annotations"] == {
        "helm.sh/resource-policy": "keep"
    }


def test_nothing_of_kubernetes_api_is_granted_by_default() -> None:
    kinds = {each["kind"] for each in render()}
    assert kinds == {"ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "Service", "Deployment", "Pod"}
    assert pod_of(render())["automountServiceAccountToken"] is False
    assert only(render(), "ServiceAccount")["automountServiceAccountToken"] is False


def test_role_binding_names_what_was_made() -> None:
    objects = render(values=ci("rbac"))
    role, binding = only(objects, "Role"), only(objects, "RoleBinding")
    assert role["rules"] == [
        {
            "apiGroups": ["monitoring.coreos.com"],
            "resources": ["prometheuses/api"],
            "verbs": ["get", "create"],
        }
    ]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = only(objects, "ServiceAccount")["metadata"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]


def test_prometheus_rule_objects_have_their_role_their_token_and_their_way_out() -> None:
    objects = render(values=ci("rules-prometheus-rule"))
    rules = config_of(objects).rules
    assert rules.publish == "prometheus_rule"
    assert rules.prometheus_rule.instance == "demo-pronoia"
    assert rules.prometheus_rule.labels == {"release": "kube-prometheus-stack"}
    role, binding = only(objects, "Role"), only(objects, "RoleBinding")
    # The verbs that the tests' Kubernetes API grants, so that no more and no less is asked for.
    assert role["rules"] == [
        {"apiGroups": ["monitoring.coreos.com"], "resources": ["prometheusrules"], "verbs": [*VERBS]}
    ]
    assert rules.prometheus_rule.namespace == "monitoring"
    assert {each["metadata"]["namespace"] for each in (role, binding)} == {"monitoring"}
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = only(objects, "ServiceAccount")["metadata"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    ]
    pod = pod_of(objects)
    assert pod["automountServiceAccountToken"] is True
    assert "rules" not in {volume["name"] for volume in pod["volumes"]}
    *stated, api = only(objects, "NetworkPolicy")["spec"]["egress"]
    assert stated == [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 9090}, {"port": 9093}]}]
    assert api == {
        "ports": [{"port": 443, "protocol": "TCP"}],
        "to": [{"ipBlock": {"cidr": "192.0.2.10/32"}}],
    }


def test_rules_of_a_container_inside_prometheus_use_its_account() -> None:
    objects = render(values=ci("in-prometheus-rules"))
    (subject,) = only(objects, "RoleBinding")["subjects"]
    assert subject["name"] == "kube-prometheus-stack-prometheus"
    assert only(objects, "Role")["metadata"]["namespace"] == NAMESPACE
    assert config_of(objects).rules.prometheus_rule.namespace == NAMESPACE


@pytest.mark.parametrize("name", ["default", "rules-directory", "rules-ruler"])
def test_the_token_is_mounted_for_objects_only(name: str) -> None:
    objects = render(values=ci(name))
    assert pod_of(objects)["automountServiceAccountToken"] is False
    assert of_kind(objects, "Role") == []


def test_service_monitor_scrapes_both_pages_of_our_service() -> None:
    objects = render(values=ci("service-monitor"))
    monitor, service = only(objects, "ServiceMonitor"), only(objects, "Service")
    pages = {each["path"]: each.get("honorLabels", False) for each in monitor["spec"]["endpoints"]}
    assert pages == {"/metrics": False, "/synthetic": True}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {each["port"] for each in monitor["spec"]["endpoints"]} == {
        each["name"] for each in service["spec"]["ports"]
    }
    assert monitor["metadata"]["labels"]["release"] == "kube-prometheus-stack"


def test_the_two_scrapes_do_not_share_their_up_series() -> None:
    """Both have the pod's address as instance; with one job, the two pages' `up` would be mixed."""
    monitor = only(render(values=ci("service-monitor")), "ServiceMonitor")
    jobs = [
        [each["replacement"] for each in page.get("relabelings", []) if each["targetLabel"] == "job"]
        for page in monitor["spec"]["endpoints"]
    ]
    # The Service's name is the job of what is not relabelled; alerts and dashboards look for "pronoia" in it.
    assert jobs == [[], ["demo-pronoia-synthetic"]]


@pytest.mark.parametrize("name", ["default", "service", "scheduling"])
def test_service_and_policies_select_the_pod(name: str) -> None:
    objects = render("--set", "networkPolicy.enabled=true,podDisruptionBudget.enabled=true", values=ci(name))
    deployment = only(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        only(objects, "Service")["spec"]["selector"],
        only(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        only(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    # The connection test's pod must never receive alerts.
    test_pod = only(objects, "Pod")["metadata"]["labels"]
    assert not selectors[1].items() <= test_pod.items()


def test_the_connection_test_may_come_in_where_others_may_not() -> None:
    objects = render(values=ci("network-policy"))
    (ingress,) = only(objects, "NetworkPolicy")["spec"]["ingress"]
    test_pod = only(objects, "Pod")["metadata"]["labels"]
    admitted = [peer["podSelector"]["matchLabels"] for peer in ingress["from"] if "podSelector" in peer]
    assert any(labels.items() <= test_pod.items() for labels in admitted)
    # Without `from`, anyone may: a list with the test's pod alone would shut out Alertmanager.
    (free,) = only(render("--set", "networkPolicy.enabled=true"), "NetworkPolicy")["spec"]["ingress"]
    assert "from" not in free


def test_in_prometheus_leaves_the_pod_to_prometheus() -> None:
    objects = render(values=ci("in-prometheus"))
    assert {each["kind"] for each in objects} == {"ConfigMap", "Service", "ServiceMonitor", "Pod"}
    assert only(objects, "Service")["spec"]["selector"] == {"app.kubernetes.io/name": "prometheus"}


def test_a_changed_configuration_restarts_the_pod() -> None:
    def checksum(*arguments: str) -> str:
        template = only(render(*arguments), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum() == checksum("--set", "podLabels.team=sre")
    assert checksum() != checksum("--set", "config.log.level=debug")


def test_values_survive_into_the_configuration() -> None:
    config = config_of(render(values=ci("big-config")))
    assert config.prometheus.max_series_per_query == 1_000_000
    assert config.prometheus.timeout == 90.0
    assert config.prometheus.tenant == "team-a"
    assert config.webhook.max_body_bytes == 67_108_864
    assert config.queries[0].forecast_horizons == (300.0, 3600.0)
    assert r'path!="/\"quoted\""' in config.queries[0].expr


def test_secrets_stay_out_of_the_config_map() -> None:
    objects = render(values=ci("secrets"))
    text = only(objects, "ConfigMap")["data"]["pronoia.yaml"]
    assert "${PROMETHEUS_PASSWORD}" in text
    pod = pod_of(objects)
    assert {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v} == {
        "prometheus-credentials",
        "pronoia-webhook",
    }
    token = config_of(objects).webhook.auth.bearer_token_file
    assert str(token) == "/etc/pronoia/secrets/webhook/token"
    assert str(token.parent) in [m["mountPath"] for m in pod["containers"][0]["volumeMounts"]]


def test_ruler_reads_from_prometheus_and_sends_to_every_alertmanager(tmp_path: Path) -> None:
    objects = render(values=ci("rules-ruler"))
    data = only(objects, "ConfigMap")["data"]
    ruler = yaml.safe_load(data["ruler.yaml"])
    assert ruler["remote_read"] == [
        {
            "url": "https://prometheus.monitoring.svc:9090/prom/api/v1/read",
            "read_recent": True,
            "authorization": {"credentials_file": "/etc/pronoia/secrets/prometheus/token"},
        }
    ]
    assert ruler["alerting"]["alertmanagers"] == [
        {"scheme": "http", "static_configs": [{"targets": ["am-0:9093"]}]},
        {
            "scheme": "https",
            "static_configs": [{"targets": ["am-1:9093"]}],
            "path_prefix": "/alertmanager",
        },
    ]
    config = config_of(objects)
    assert config.prometheus.url == "http://localhost:9090"
    assert config.prometheus.http.bearer_token_file is None
    # Prometheus' own words on the file, less the credentials that only the cluster has.
    ruler["remote_read"][0].pop("authorization")
    path = tmp_path / "ruler.yaml"
    path.write_text(yaml.safe_dump(ruler))
    done = subprocess.run([binary("promtool"), "check", "config", str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_packaged_chart_leaves_the_checks_at_home(tmp_path: Path) -> None:
    done = helm("package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (archive,) = tmp_path.glob("pronoia-*.tgz")
    listing = subprocess.run(["tar", "tzf", str(archive)], capture_output=True, text=True, check=True).stdout
    assert "pronoia/values.schema.json" in listing
    assert "/ci/" not in listing
