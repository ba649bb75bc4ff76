"""Alert expressions written for other products fire on pronoia's series, unchanged, on a real Prometheus."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporters.formats import make_formats
from sidecar.series import Evaluation, LabelSet
from tests.integration.servers import Prometheus, wait_until
from tests.integration.test_scrape import Served

pytestmark = pytest.mark.integration

# The expressions as their products ship them; only `for` is shorter, so that the test is.
RULES = {
    "vmanomaly example": "anomaly_score > 1.0",
    "vmanomaly node-exporter preset": 'min(anomaly_score{preset="node-exporter", for="page_faults"}) '
    "without (model_alias, scheduler_alias)>=1.0",
    "promql-anomaly-detection": "last_over_time(anomaly:level[2m]) < "
    'last_over_time(anomaly:lower_band{anomaly_strategy="adaptive"}[2m])\nor\n'
    'last_over_time(anomaly:level[2m]) > last_over_time(anomaly:upper_band{anomaly_strategy="adaptive"}[2m])',
}


def test_alerts_of_other_products_fire_for_the_anomalous_series_alone(
    tmp_path: Path, keep: Callable[..., Any]
) -> None:
    formats = make_formats(("pronoia", "vmanomaly", "promql_anomaly_detection"), {"preset": "node-exporter"})
    with Served(formats) as served:
        labels = tuple(LabelSet({"instance": name}) for name in ("broken", "edge", "fine"))
        actual = np.array([9.0, 5.0, 3.0])
        served.page.publish(
            Evaluation(
                "page_faults", "default", 1, labels, actual, np.full(3, 3.0), np.full(3, 1.0),
                np.full(3, 5.0), np.array([3.0, 1.0, 0.0]), np.ones(3, dtype=np.int8), np.ones(3),
            )
        )  # fmt: skip
        job = {
            "job_name": "synthetic",
            "metrics_path": "/synthetic",
            "honor_labels": True,
            "static_configs": [{"targets": [f"127.0.0.1:{served.port}"]}],
        }
        prometheus = keep(Prometheus(tmp_path / "prometheus", scrape=[job]))
        rules = [{"alert": name, "expr": expr} for name, expr in RULES.items()]
        (prometheus.rules / "theirs.yaml").write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))
        prometheus.start()

        def firing() -> dict[str, set[str]]:
            found = prometheus.query('ALERTS{alertstate="firing"}')
            return {
                name: {one["metric"]["instance"] for one in found if one["metric"]["alertname"] == name}
                for name in RULES
            }

        wait_until(lambda: all(firing().values()), what="every rule fires")
        assert firing() == {name: {"broken"} for name in RULES}
