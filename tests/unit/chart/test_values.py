"""The chart's values: each documented, each known to the schema, the wrong ones refused with their place."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from sidecar.config.load import load_text
from sidecar.config.model import Config
from tests.unit.chart.helm_chart import CHART, CI_VALUES, helm, render
from tools import chart_schema

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        pytest.param("bogus=1", "'bogus'", id="unknown value"),
        pytest.param("image.tagg=1", "'tagg'", id="unknown key inside"),
        pytest.param("persistence.size=big", "/persistence/size", id="not a quantity"),
        pytest.param("service.port=http", "/service/port", id="wrong type"),
        pytest.param("mode=daemonset", "/mode", id="unknown mode"),
        pytest.param("config.prometeus.url=x", "'prometeus'", id="unknown key of the configuration"),
        pytest.param("config.prometheus.timeout=soon", "/config/prometheus/timeout", id="not a duration"),
        pytest.param("config.prometheus.timeout=0", "/config/prometheus/timeout", id="duration of nothing"),
        pytest.param("config.export.max_series=-1", "/config/export/max_series", id="out of bounds"),
        pytest.param("config.server.listen=:80", "'listen'", id="a key that the chart owns"),
        pytest.param(
            "config.prometheus.http.bearer_token=s3cret",
            "/config/prometheus/http/bearer_token",
            id="a secret in the configuration",
        ),
        pytest.param("rules.mode=directory", "rules.volume", id="rules without a volume"),
        pytest.param("mode=inPrometheus", "podSelector", id="inside what"),
        pytest.param(
            "mode=inPrometheus,podSelector.a=b,rules.mode=ruler", "rules.mode", id="a ruler without a pod"
        ),
        pytest.param(
            "mode=inPrometheus,podSelector.a=b,rules.mode=prometheusRule",
            "prometheusServiceAccount",
            id="a role for nobody",
        ),
        pytest.param(
            "rules.mode=prometheusRule,serviceAccount.create=false",
            "serviceAccount.name",
            id="a role for everybody",
        ),
        pytest.param("config.rules.publish=files", "'publish'", id="a rules key that the chart owns"),
        pytest.param("alerts.disabled={PronoiaTooMany}", "/alerts/disabled/0", id="no alert of that name"),
        pytest.param("rbac.create=true", "rbac.rules", id="a role that allows nothing"),
        pytest.param(
            "alerts.enabled=true,serviceMonitor.enabled=true,fullnameOverride=foresight",
            '"foresight"',
            id="alerts that look for another job",
        ),
        pytest.param("serviceMonitor=null", "'serviceMonitor'", id="a section without content"),
        pytest.param("probes.liveness=null", "'liveness'", id="a probe without content"),
        pytest.param("image.repository=null", "'repository'", id="an image without a name"),
        pytest.param("config.prometheus=null", "'prometheus'", id="a configuration without its server"),
        pytest.param("config.prometheus.url=null", "'url'", id="a server without its address"),
        pytest.param(
            "rules.ruler.remoteRead=null", "'remoteRead'", id="a heading in a section without content"
        ),
        pytest.param("service.port=null", "'port'", id="a service without a port"),
        pytest.param("resources.limit.memory=1Gi", "'limit'", id="a limit that would be none"),
        pytest.param("persistence.accessModes={RWX}", "/persistence/accessModes/0", id="no access mode"),
        pytest.param("ingress.enabled=true", "ingress.hosts", id="an ingress to nowhere"),
        pytest.param("httpRoute.enabled=true", "httpRoute.parentRefs", id="a route on no Gateway"),
        pytest.param("podDisruptionBudget.maxUnavailable=", "maxUnavailable", id="no number of pods"),
    ],
)
def test_wrong_values_are_refused_with_their_place(setting: str, words: str) -> None:
    done = helm("template", "demo", str(CHART), "--set", setting)
    assert done.returncode != 0
    assert words in done.stderr


def test_off_without_quotes_is_the_word_it_is_to_pronoia(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(
        "config:\n"
        "  prometheus: {remote_read: off}\n"
        "  queries: [{name: up, expr: up, absence: off}]\n"
        "  rules: {adapt: {unattended: {mode: off}}}\n"
    )
    (text,) = (each["data"]["pronoia.yaml"] for each in render(values=values) if each["kind"] == "ConfigMap")
    config = load_text(text)
    assert config.prometheus.remote_read == config.queries[0].absence == "off"
    assert config.rules.adapt.unattended.mode == "off"


def test_headings_with_nothing_but_comments_below_are_empty() -> None:
    emptied = (
        "podLabels",
        "podAnnotations",
        "resources",
        "nodeSelector",
        "tolerations",
        "env",
        "secretMounts",
    )
    done = helm(
        "template", "demo", str(CHART), *(word for key in emptied for word in ("--set", f"{key}=null"))
    )
    assert done.returncode == 0, done.stderr


def test_schema_is_what_the_generator_writes() -> None:
    written = (CHART / "values.schema.json").read_text()
    assert written == chart_schema.render(), "run: python -m tools.chart_schema"


def test_schema_knows_every_key_of_the_configuration() -> None:
    schema = json.loads(chart_schema.render())
    assert set(schema["properties"]["config"]["properties"]) == set(Config.model_fields)


def test_schema_knows_every_value_and_only_those() -> None:
    schema = json.loads(chart_schema.render())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(values)


def test_every_value_has_a_comment_with_its_default() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    bare = []
    for number, line in enumerate(lines):
        key = re.match(r"^( *)([A-Za-z]+):", line)
        opens_a_map = key is not None and line.rstrip().endswith(":")
        if key is None or opens_a_map or lines[number - 1].lstrip().startswith("- "):
            continue
        if key[1] and key[2] in (
            "runAsNonRoot",
            "runAsUser",
            "runAsGroup",
            "fsGroup",
            "fsGroupChangePolicy",
            "type",
        ):
            continue
        if key[2] in ("allowPrivilegeEscalation", "readOnlyRootFilesystem", "drop"):
            continue
        if "Default:" not in lines[number - 1]:
            bare.append(line)
    assert bare == []


def test_empty_maps_carry_an_example() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    for line, following in pairwise(lines):
        if re.match(r"^ *[A-Za-z]+: (\{\}|\[\])$", line):
            assert following.lstrip().startswith("#"), line
            assert len(following) - len(following.lstrip()) > len(line) - len(line.lstrip()), line


def test_every_option_has_a_ci_file() -> None:
    turned = " ".join(path.read_text() for path in CI_VALUES)
    for key in yaml.safe_load((CHART / "values.yaml").read_text()):
        if key not in ("probes", "podSecurityContext", "securityContext"):
            assert f"{key}:" in turned, key
