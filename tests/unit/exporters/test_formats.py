"""Other products' names and labels on the scrape page."""

from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from exporters.formats import make_formats
from exporters.page import SyntheticPage
from sidecar.config.load import load_text
from sidecar.errors import ConfigError
from sidecar.series import Evaluation, Forecast, LabelSet

SERIES = LabelSet({"__name__": "up", "job": "shop", "for": "theirs"})


def shown(
    *formats: str, labels: LabelSet = SERIES, score: float = 1.5, tenant: str = "default", **extra: str
) -> list[str]:
    page = SyntheticPage(max_series=100, registry=CollectorRegistry(), formats=make_formats(formats, extra))
    values = np.array([5.0])
    page.publish(
        Evaluation(
            "load", tenant, 60_000, (labels,), values, values - 1, values - 2, np.array([np.nan]),
            np.array([score]), np.ones(1, dtype=np.int8), np.ones(1),
            (Forecast(3600.0, values + 1, values, values + 2),),
        )
    )  # fmt: skip
    body, _ = page.render(openmetrics=False, gzipped=False)
    return [line for line in body.decode().splitlines() if not line.startswith("#")]


def test_vmanomaly_to_the_letter() -> None:
    labels = (
        '{exported_for="theirs",job="shop",preset="node-exporter",for="load",'
        'model_alias="pronoia",scheduler_alias="pronoia"}'
    )
    assert shown("vmanomaly", preset="node-exporter") == [
        f"anomaly_score{labels} 1.5",
        f"y{labels} 5",
        f"yhat{labels} 4",
        f"yhat_lower{labels} 3",
        f"yhat_1h{labels} 6",
        f"yhat_lower_1h{labels} 5",
        f"yhat_upper_1h{labels} 7",
    ]


def test_a_point_on_the_edge_does_not_raise_vmanomalys_alerts() -> None:
    (line,) = [one for one in shown("vmanomaly", score=1.0) if one.startswith("anomaly_score")]
    assert float(line.split()[-1]) < 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(
            {"job": "a"}, 'job="a",anomaly_name="load",anomaly_select="1",anomaly_strategy="adaptive"'
        ),
        pytest.param(
            {"anomaly_name": "own", "anomaly_strategy": "robust", "anomaly_type": "latency"},
            'anomaly_type="latency",anomaly_name="own",anomaly_select="1",anomaly_strategy="robust"',
            id="what the series says of itself stays",
        ),
    ],
)
def test_promql_anomaly_detection_to_the_letter(source: dict[str, str], expected: str) -> None:
    assert shown("promql_anomaly_detection", labels=LabelSet(source)) == [
        f"anomaly:level{{{expected}}} 5",
        f"anomaly:lower_band{{{expected}}} 3",
    ]


@pytest.mark.parametrize("name", ["vmanomaly", "promql_anomaly_detection"])
def test_what_is_not_of_the_default_tenant_says_whose_it_is(name: str) -> None:
    labels = LabelSet({"tenant": "theirs"})
    told = shown(name, labels=labels, tenant="shop", team="core")
    assert told
    assert all('tenant="shop"' in line and 'team="core"' in line for line in told)
    assert all('{exported_tenant="theirs"' in line for line in told)
    assert all('{tenant="theirs"' in line for line in shown(name, labels=labels))


def test_two_formats_stand_beside_each_other_and_share_the_room() -> None:
    both = shown("pronoia", "vmanomaly")
    assert len(both) == len(shown("pronoia")) + len(shown("vmanomaly"))
    page = SyntheticPage(
        max_series=10, registry=CollectorRegistry(), formats=make_formats(("pronoia", "vmanomaly"), {})
    )
    values = np.zeros(2)
    labels = (LabelSet({"a": "1"}), LabelSet({"a": "2"}))
    page.publish(
        Evaluation(
            "q", "default", 1, labels, values, values, values, values, values,
            np.zeros(2, dtype=np.int8), values,
        )
    )  # fmt: skip
    body = page.render(openmetrics=False, gzipped=False)[0].decode()
    assert body.count('a="1"') == 10
    assert 'a="2"' not in body


@pytest.mark.parametrize(
    ("text", "formats"),
    [
        ("{}", ("pronoia",)),
        ("{metric_format: vmanomaly}", ("vmanomaly",)),
        ("{metric_format: [pronoia, vmanomaly]}", ("pronoia", "vmanomaly")),
    ],
)
def test_configured(text: str, formats: tuple[str, ...]) -> None:
    assert load_text(f"export: {text}").export.formats == formats


@pytest.mark.parametrize(
    "text",
    ["{metric_format: netdata}", "{metric_format: []}", "{metric_format: [pronoia, pronoia]}",
     "{extra_labels: {a-b: c}}"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="export"):
        load_text(f"export: {text}")
