"""The trends of a real Prometheus' series, from the command line."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from tests.integration.servers import Prometheus

pytestmark = pytest.mark.integration


def test_the_growing_genre_is_told(prometheus: Prometheus) -> None:
    weeks = f"(vector(time() - {time.time() - 28 * 86400:.0f}) / 604800)"
    daily = "(100 + 20 * sin(vector(time() * 0.0000727)) + 3 * sin(vector(time() / 5000)))"
    query = (
        f'label_replace({daily} * (1 + 0.1 * {weeks}), "genre", "hyperpop", "", "")'
        f' or label_replace({daily}, "genre", "rock", "", "")'
    )
    arguments = ["report", "trends", "--prometheus", prometheus.url, "--query", query, "--start", "28d"]
    result = CliRunner().invoke(main, [*arguments, "--step", "1h", "--format", "json"])
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.stdout)
    assert (first["labels"], first["significant"]) == ({"genre": "hyperpop"}, True)
    assert first["relative_per_week"] == pytest.approx(0.1 / 1.2, abs=0.02)
    assert not second["significant"]
    text = CliRunner().invoke(main, [*arguments, "--step", "1h"]).stdout
    assert "declining: none" in text
    assert "1 of 2 series show nothing" in text
