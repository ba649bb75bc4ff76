"""Tables by hour and lines in rules, as a Prometheus prints them: read back, and not taken for edited."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rules.adapt.bounds import Bound, ByHour, Trend
from rules.adapt.moving import without_moving
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


def test_what_a_server_prints_is_read_as_it_was_written(tmp_path: Path) -> None:
    moving: dict[str, Bound] = {
        f"By{period}": ByHour(Threshold(LabelSet(), period, segments))
        for period, segments in SEGMENTS.items()
    }
    moving["Line"] = Trend(3.25, -2e-7, 1.7e9, 1.71e9)
    written = {
        name: one.rewritten("sum by (a) (load{b='c'}) > 5 and on () up") for name, one in moving.items()
    }
    server = Prometheus(tmp_path)
    rules = [{"alert": name, "expr": expr} for name, expr in written.items()]
    (server.rules / "own.yaml").write_text(json.dumps({"groups": [{"name": "own", "rules": rules}]}))
    with stopping(server):
        server.start()
        groups = get_json(f"{server.url}/api/v1/rules")["data"]["groups"]
    printed = {rule["name"]: rule["query"] for group in groups for rule in group["rules"]}
    assert printed.keys() == moving.keys()
    for name, expr in printed.items():
        read = without_moving(WrittenRule(name, expr, "alerting"))
        assert read is not None, expr
        assert read[1] == moving[name]
        assert canonical(expr) == canonical(written[name])
