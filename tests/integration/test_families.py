"""Families of a real Prometheus' series, and who left one, from the command line."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from tests.integration.servers import Prometheus

pytestmark = pytest.mark.integration

OFFICE = "(vector(10) + 8 * ((hour() >= bool 8) * (hour() < bool 18)))"
NIGHT = "(vector(10) + 20 * (hour() < bool 4))"
END = int(time.time()) // 3600 * 3600
A_DAY_AGO = f"(vector(time()) <= bool {END - 86400})"


def test_a_series_that_changes_sides_is_told(prometheus: Prometheus) -> None:
    courses = [OFFICE] * 6 + [NIGHT] * 6 + [f"({OFFICE} * {A_DAY_AGO} + {NIGHT} * (1 - {A_DAY_AGO}))"]
    query = " or ".join(
        f'label_replace({course} * {1 + at}, "shard", "{at}", "", "")' for at, course in enumerate(courses)
    )
    arguments = ["families", "--prometheus", prometheus.url, "--query", query, "--start", "3d"]
    arguments += ["--end", str(END), "--step", "30m"]
    result = CliRunner().invoke(main, [*arguments, "--format", "json"])
    assert result.exit_code == 1, result.output
    assert result.stdout, result.stderr
    found = json.loads(result.stdout)
    assert sorted(len(one["series"]) for one in found["families"]) == [6, 7]
    assert [one["labels"] for one in found["left"]] == [{"shard": "12"}]
    assert [one["families"] for one in found["joined"]] == [[0, 1]]
    text = CliRunner().invoke(main, arguments).stdout
    assert "2 families, stability 1.00" in text
    assert 'on the last day: {shard="12"} (' in text
