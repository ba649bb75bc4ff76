"""Rules with tables by hour, as a real Prometheus prints them: read back, and not taken for edited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rules.adapt.bounds import ByHour
from rules.adapt.tabled import without_table
from rules.learn import Segment, Threshold
from rules.read import WrittenRule
from rules.verify import canonical
from sidecar.series import LabelSet
from tests.integration.servers import Prometheus, get_json, stopping

pytestmark = pytest.mark.integration

SEGMENTS = {
    24: (Segment(0, 8, 5.0), Segment(8, 20, 1e9), Segment(20, 24, 5.5)),
    168: (Segment(0, 31, -1.5), Segment(31, 100, 0.25), Segment(100, 168, 2.5e-7)),
}


def test_a_server_prints_a_table_that_is_read_as_it_was_written(tmp_path: Path) -> None:
    tables = {
        f"By{period}": ByHour(Threshold(LabelSet(), period, segments))
        for period, segments in SEGMENTS.items()
    }
    written = {
        name: one.rewritten("sum by (a) (load{b='c'}) > 5 and on () up") for name, one in tables.items()
    }
    server = Prometheus(tmp_path)
    rules = [{"alert": name, "expr": expr} for name, expr in written.items()]
    (server.rules / "own.yaml").write_text(json.dumps({"groups": [{"name": "own", "rules": rules}]}))
    with stopping(server):
        server.start()
        groups = get_json(f"{server.url}/api/v1/rules")["data"]["groups"]
    printed = {rule["name"]: rule["query"] for group in groups for rule in group["rules"]}
    assert printed.keys() == tables.keys()
    for name, expr in printed.items():
        read = without_table(WrittenRule(name, expr, "alerting"))
        assert read is not None, expr
        assert read[1] == tables[name]
        assert canonical(expr) == canonical(written[name])
