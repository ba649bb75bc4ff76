"""An audit of a real Prometheus: what its rules ask for and do not get."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sidecar.cli.main import main
from tests.integration.servers import Prometheus, wait_until

pytestmark = pytest.mark.integration

FAULTS = {
    "Missing": ("no_such_metric > 1", "missing series"),
    "Mistyped": ('load{service="typo"} > 1', "matches nothing"),
    "Joined": ("load * on (pod) other > 1", "cannot join"),
    "Absent": ('absent(load{service="gone"})', ""),
    "Fine": ("load * on (service) group_left () limits > 1", ""),
}
SERIES = {
    "load": {"service": "a", "pod": "1"},
    "other": {"pod": "2"},
    "limits": {"service": "a"},
}


def test_series_that_are_absent_and_joins_that_cannot_match(tmp_path: Path, keep: Callable[..., Any]) -> None:
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    records = [{"record": name, "expr": "vector(5)", "labels": labels} for name, labels in SERIES.items()]
    alerts = [{"alert": name, "expr": expr} for name, (expr, _) in FAULTS.items()]
    groups = [{"name": "own", "rules": records}, {"name": "faults", "rules": alerts}]
    (server.rules / "own.yaml").write_text(json.dumps({"groups": groups}))
    server.start()
    wait_until(
        lambda: all(server.query(f"count_over_time({name}[1m]) >= 5") for name in SERIES),
        what="the series were there for some seconds",
    )
    arguments = [
        "rules",
        "audit",
        "--prometheus",
        server.url,
        "--start",
        "1m",
        "--step",
        "1s",
        "--data",
        str(tmp_path),
    ]
    result = CliRunner().invoke(main, [*arguments, "--format", "json"], catch_exceptions=False)
    assert result.exit_code == 1, result.output
    found = {(one["rule"].split("/")[1], one["kind"]) for one in json.loads(result.stdout)}
    of_source = {(rule, kind) for rule, kind in found if kind in {kind for _, kind in FAULTS.values()}}
    assert of_source == {(name, kind) for name, (_, kind) in FAULTS.items() if kind}
    assert ("Fine", "no for") in found

    past = CliRunner().invoke(
        main,
        ["rules", "backtest", *arguments[2:], "--rules", str(server.rules / "own.yaml"), "--format", "json"],
        catch_exceptions=False,
    )
    assert past.exit_code == 0, past.output
    fired = {one["rule"].split("/")[1] for one in json.loads(past.stdout) if one["firings"]}
    assert fired == {"Absent", "Fine"}

    # Old and new side by side: a table that names noise and cost, and a picture.
    milder = tmp_path / "milder.yaml"
    milder.write_text(json.dumps({"groups": groups}).replace("limits > 1", "limits > 9000"))
    incidents = tmp_path / "incidents.yaml"
    incidents.write_text("[{name: none, start: 2001-01-01T00:00:00Z, end: 2001-01-02T00:00:00Z}]")
    picture = tmp_path / "days.svg"
    options = {"--rules": server.rules / "own.yaml", "--against": milder, "--incidents": incidents}
    told = [text for name, path in (options | {"--plot": picture}).items() for text in (name, str(path))]
    both = CliRunner().invoke(main, ["rules", "backtest", *arguments[2:], *told], catch_exceptions=False)
    assert both.exit_code == 0, both.output
    lines = both.output.splitlines()
    assert lines[0].split() == [
        "rule",
        "series",
        "firings",
        "noise",
        "fired",
        "for",
        "incidents",
        "soonest",
        "cost",
    ]
    old = next(n for n, line in enumerate(lines) if line.startswith("Fine"))
    _, series, firings, noise, *_ = lines[old].split()
    assert (series, noise) == ("1", firings)
    assert int(firings) >= 1
    assert lines[old + 1].split()[:5] == ["→", "new", "0", "0", "0"]
    assert sum("→ new" in line for line in lines) == 1, "a rule that stayed as it is has one row"
    assert "with the new rules (-" in lines[-1]
    assert picture.read_text().startswith("<?xml")


def test_a_server_without_alerts_is_no_place_to_adapt_or_to_back_test(
    tmp_path: Path, keep: Callable[..., Any]
) -> None:
    server: Prometheus = keep(Prometheus(tmp_path / "prometheus"))
    groups = [{"name": "own", "rules": [{"record": "load", "expr": "vector(5)"}]}]
    (server.rules / "own.yaml").write_text(json.dumps({"groups": groups}))
    server.start()
    wait_until(lambda: server.query("count_over_time(load[1m]) >= 5"), what="the recording rule recorded")
    where = ["--prometheus", server.url, "--start", "1m", "--step", "1s", "--data", str(tmp_path)]
    for command in ("plan", "replay", "backtest"):
        result = CliRunner().invoke(main, ["rules", command, *where])
        assert result.exit_code == 2, result.output
        assert "this Prometheus has no alerting rule; name rule files with --rules" in result.output
