"""Where rules go, as the configuration says it: what is accepted, what is refused and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from rules.places import publisher_for
from rules.publish import Publisher
from rules.publish_objects import ObjectPublisher
from sidecar.config.load import load_text
from sidecar.config.model import RulesConfig
from sidecar.errors import ConfigError
from tests.unit.rules.bands import LoadingServer

SERVER = LoadingServer(Path("/nowhere"))


@pytest.mark.parametrize(
    ("rules", "kind", "seconds"),
    [
        pytest.param("{directory: /rules}", Publisher, 30.0, id="files"),
        pytest.param("{publish: prometheus_rule}", ObjectPublisher, 300.0, id="objects"),
        pytest.param(
            "{publish: prometheus_rule, verify_timeout: 2m, prometheus_rule: {labels: {release: kps}}}",
            ObjectPublisher,
            120.0,
            id="objects with their own time",
        ),
    ],
)
def test_the_publisher_is_the_one_that_is_asked_for(rules: str, kind: type, seconds: float) -> None:
    config = load_text(f"rules: {rules}").rules
    assert config.enabled
    assert config.verify_seconds == seconds
    assert isinstance(publisher_for(config, SERVER), kind)


def test_without_a_place_there_are_no_rules() -> None:
    assert not RulesConfig().enabled
    with pytest.raises(ValueError, match="directory"):
        publisher_for(RulesConfig(), SERVER)


@pytest.mark.parametrize(
    ("rules", "place", "words"),
    [
        pytest.param("{publish: objects}", "rules.publish", "prometheus_rule", id="unknown way"),
        pytest.param(
            "{publish: prometheus_rule, directory: /rules}", "rules", "publish: files", id="two places"
        ),
        pytest.param("{prometheus_rule: {}}", "rules", "publish: prometheus_rule", id="half said"),
        pytest.param(
            "{publish: prometheus_rule, prometheus_rule: {lables: {}}}",
            "rules.prometheus_rule.lables",
            "labels",
            id="typing error",
        ),
        pytest.param(
            "{publish: prometheus_rule, prometheus_rule: {labels: {'a b': c}}}",
            "rules.prometheus_rule.labels",
            "not a Kubernetes label's name",
            id="not a label",
        ),
        pytest.param(
            "{publish: prometheus_rule, prometheus_rule: {labels: {pronoia/instance: mine}}}",
            "rules.prometheus_rule.labels",
            "set by pronoia itself",
            id="our own mark",
        ),
        pytest.param(
            "{publish: prometheus_rule, prometheus_rule: {namespace: Monitoring}}",
            "rules.prometheus_rule.namespace",
            "DNS label",
            id="not a namespace",
        ),
        pytest.param(
            "{publish: prometheus_rule, prometheus_rule: {api_url: localhost}}",
            "rules.prometheus_rule.api_url",
            "not a URL",
            id="not a URL",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(rules: str, place: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(f"rules: {rules}")
    (problem,) = caught.value.problems
    assert problem.path.startswith(place)
    assert words in problem.message
