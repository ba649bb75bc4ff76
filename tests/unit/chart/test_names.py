"""Names and labels that people choose: beside the chart's own, as text, refused where nobody takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.chart.helm_chart import CHART, helm, of_kind, only, render


class OneOfEach(yaml.SafeLoader):
    """Refuses a key that stands twice, as GitOps tools do."""


def _mapping(loader: OneOfEach, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    assert len(set(keys)) == len(keys), f"twice: {keys}"
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


OneOfEach.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)

OWN = {
    "team": "sre",
    "app.kubernetes.io/name": "mine",
    "app.kubernetes.io/version": "9",
    "helm.sh/chart": "x",
}


def test_labels_of_ones_own_stand_beside_the_charts_and_never_twice(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    places = ("serviceMonitor", "alerts", "dashboards")
    marks = {place: {"enabled": True, "labels": OWN} for place in places}
    annotations = {"checksum/config": "mine", "owner": "sre"}
    values.write_text(json.dumps({**marks, "podLabels": OWN, "podAnnotations": annotations}))
    done = helm("template", "demo", str(CHART), "-f", str(values))
    assert done.returncode == 0, done.stderr
    objects = tuple(one for one in yaml.load_all(done.stdout, OneOfEach) if one)
    pod = only(objects, "Deployment")["spec"]["template"]["metadata"]
    dashboards = next(
        one for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"].endswith("dashboards")
    )
    for metadata in (
        only(objects, "ServiceMonitor")["metadata"],
        only(objects, "PrometheusRule")["metadata"],
        dashboards["metadata"],
        pod,
    ):
        assert metadata["labels"]["team"] == "sre"
        assert metadata["labels"]["app.kubernetes.io/name"] == "pronoia"
    assert pod["annotations"]["owner"] == "sre"
    assert pod["annotations"]["checksum/config"] != "mine"


def _not_text(node: Any, path: str = "") -> list[str]:
    """Places that Kubernetes wants text at and that are none."""
    names = (
        "name",
        "namespace",
        "claimName",
        "storageClassName",
        "serviceAccountName",
        "priorityClassName",
        "secretName",
    )
    if isinstance(node, list):
        return [found for at, one in enumerate(node) for found in _not_text(one, f"{path}[{at}]")]
    if not isinstance(node, dict):
        return []
    found = []
    for key, value in node.items():
        here = f"{path}.{key}"
        if key in names and not isinstance(value, str):
            found.append(here)
        if key in ("labels", "matchLabels", "annotations"):
            found += [f"{here}.{name}" for name, one in value.items() if not isinstance(one, str)]
        found += _not_text(value, here)
    return found


def test_names_that_look_like_numbers_or_truths_stay_text(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(
        json.dumps(
            {
                "nameOverride": "1e3",
                "fullnameOverride": "demo",
                "persistence": {"storageClass": "on"},
                "priorityClassName": "007",
                "serviceAccount": {"name": "12"},
                "serviceMonitor": {"enabled": True},
                "networkPolicy": {"enabled": True},
                "secretMounts": [{"name": "a", "existingSecret": "12"}],
                "rules": {"mode": "prometheusRule", "prometheusRule": {"namespace": "8"}},
                "rbac": {"create": True, "namespace": "9", "rules": [{"apiGroups": [""]}]},
            }
        )
    )
    done = helm("template", "123", str(CHART), "--namespace", "456", "-f", str(values))
    assert done.returncode == 0, done.stderr
    objects = [one for one in yaml.safe_load_all(done.stdout) if one]
    assert [found for one in objects for found in _not_text(one, one["kind"])] == []
    volume = only(render("--set", "persistence.storageClass=-"), "PersistentVolumeClaim")
    assert volume["spec"]["storageClassName"] == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param("fullnameOverride=Demo", "cannot be the name of a Service", id="capitals"),
        pytest.param("nameOverride=a.b", "cannot be the name of a Service", id="a dot"),
        pytest.param("fullnameOverride=1a", "a letter first", id="a digit first"),
        pytest.param(
            "serviceMonitor.enabled=true,serviceMonitor.syntheticInterval=5s",
            "longer than the interval of 5s",
            id="5 s",
        ),
        pytest.param(
            "serviceMonitor.enabled=true,serviceMonitor.scrapeTimeout=1m30s", "1m30s is longer", id="1.5 min"
        ),
    ],
)
def test_what_kubernetes_or_the_operator_would_refuse_is_refused_with_words(
    arguments: str, words: str
) -> None:
    done = helm("template", "demo", str(CHART), "--set", arguments)
    assert done.returncode != 0
    assert words in done.stderr


def test_a_timeout_as_long_as_its_interval_is_fine() -> None:
    render(
        "--set",
        "serviceMonitor.enabled=true,serviceMonitor.syntheticInterval=5s,serviceMonitor.scrapeTimeout=5000ms",
    )
