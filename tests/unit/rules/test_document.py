"""Rule files: deterministic, valid to promtool, right in every hour, alive without pronoia."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import promql_parser
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.document import literal_expr, render
from rules.learn import learn
from rules.validate import check, parse
from sidecar.errors import RuleError
from tests.integration.servers import binary
from tests.unit.rules.bands import CONFIG, QUERY, band, golden, hours

GOLDEN = Path(__file__).parents[2] / "golden" / "rules"
KINDS = ("flat", "daily", "weekly")


@pytest.mark.parametrize("kind", KINDS)
def test_golden_files(kind: str) -> None:
    """`PRONOIA_GOLDEN=1 pytest tests/unit/rules` rewrites them."""
    file = golden(kind)
    path = GOLDEN / file.file_name
    if os.environ.get("PRONOIA_GOLDEN"):
        path.write_text(file.text)
    assert path.read_text() == file.text
    assert golden(kind).text == file.text


def unit_tests(kind: str) -> list[dict[str, Any]]:
    """Promtool's own tests: quiet inside the band, firing outside, in hours whose bounds differ."""
    name = "Golden" + kind.capitalize() + "AboveExpected"
    labels = {"severity": "warning", "query": f"golden_{kind}", "generator": "pronoia", "service": "cdn"}
    centre = hours(kind)
    groups: list[dict[str, Any]] = []
    for hour in (5, 19, 100):
        # promtool's time starts at the epoch, a Thursday: hour 96 of the week.
        offset = (hour - 96) % 168
        for excess, fires in ((0.9, False), (4.5, True)):
            groups.append(
                {
                    "interval": "30m",
                    "input_series": [
                        {
                            "series": 'error_ratio{service="cdn"}',
                            "values": f"{centre[hour] + excess}x{offset * 2 + 1}",
                        }
                    ],
                    "alert_rule_test": [
                        {
                            "eval_time": f"{offset * 60 + 30}m",
                            "alertname": name,
                            "exp_alerts": [{"exp_labels": labels}] if fires else [],
                        }
                    ],
                }
            )
    # A live expectation, where there is one, decides instead of the literal.
    live = {
        "interval": "1m",
        "input_series": [
            {"series": 'error_ratio{service="cdn"}', "values": "100x60"},
            {
                "series": f'pronoia_expected_upper{{service="cdn",query="golden_{kind}",job="p"}}',
                "values": "1000x30 stale",
            },
        ],
        "alert_rule_test": [
            {"eval_time": "20m", "alertname": name, "exp_alerts": []},
            {"eval_time": "40m", "alertname": name, "exp_alerts": [{"exp_labels": labels}]},
        ],
    }
    files = [f"pronoia-golden_{kind}.rules.yaml"]
    return [
        {"rule_files": files, "evaluation_interval": "30m", "tests": groups},
        {"rule_files": files, "evaluation_interval": "1m", "tests": [live, without_value(kind, labels)]},
    ]


def without_value(kind: str, labels: dict[str, str]) -> dict[str, Any]:
    """A score above 1 inside the band is told until the value is; a series that stopped is told."""
    name = "Golden" + kind.capitalize()
    identity = f'{{service="cdn",query="golden_{kind}"}}'
    fires = [{"exp_labels": labels}]
    return {
        "interval": "1m",
        "input_series": [
            {"series": 'error_ratio{service="cdn"}', "values": "100x20 5000x20"},
            {"series": f"pronoia_expected_upper{identity}", "values": "1000x40"},
            {"series": f"pronoia_anomaly_score{identity}", "values": "0.9x9 2x30"},
            {"series": f"pronoia_series_absent{identity}", "values": "_x30 1x10"},
        ],
        "alert_rule_test": [
            {"eval_time": f"{minute}m", "alertname": name + alert, "exp_alerts": fires if expected else []}
            for minute, alert, expected in (
                (5, "Unusual", False),
                (15, "Unusual", True),
                (30, "Unusual", False),
                (30, "AboveExpected", True),
                (25, "Absent", False),
                (35, "Absent", True),
            )
        ],
    }


@pytest.mark.parametrize("kind", KINDS)
def test_promtool_sees_it_fire_when_it_must_and_only_then(kind: str, tmp_path: Path) -> None:
    file = golden(kind)
    document = yaml.safe_load(file.text)
    document["groups"][0].pop("interval")  # The tests choose their own pace.
    for rule in document["groups"][0]["rules"]:
        rule.pop("annotations", None)  # Their text holds the value; labels are what is tested.
    (tmp_path / file.file_name).write_text(yaml.safe_dump(document))
    for i, test in enumerate(unit_tests(kind)):
        path = tmp_path / f"test{i}.yaml"
        path.write_text(yaml.safe_dump(test))
        run = subprocess.run([binary("promtool"), "test", "rules", str(path)], capture_output=True, text=True)
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("kind", KINDS)
async def test_promtool_has_nothing_against_it(kind: str) -> None:
    checks = await check(golden(kind).text, promtool=binary("promtool"))
    assert "SUCCESS" in checks["promtool"]


async def test_a_broken_file_fails_the_check_with_promtools_words() -> None:
    with pytest.raises(RuleError, match="promtool") as caught:
        await check(golden("flat").text.replace("vector(11)", "vector("), promtool=binary("promtool"))
    assert caught.value.reason == "check_failed"


async def test_without_promtool_the_parser_checks_and_says_so() -> None:
    checks = await check(golden("flat").text, promtool="no-such-promtool")
    assert checks["parser"] == "4 expressions parse"
    assert "not on PATH" in checks["promtool"]
    with pytest.raises(RuleError, match="unclosed left parenthesis"):
        await check("groups: [{rules: [{expr: 'sum('}]}]", promtool="no-such-promtool")


awkward = st.dictionaries(
    st.from_regex(r"[a-z_][a-z0-9_]{0,6}", fullmatch=True).filter(lambda n: n not in ("query", "horizon")),
    st.text(min_size=1, max_size=10),
    max_size=3,
)


@settings(max_examples=30, deadline=None)
@given(st.lists(awkward, min_size=1, max_size=4, unique_by=lambda d: tuple(sorted(d.items()))), st.booleans())
def test_what_is_rendered_reads_back(labels: list[dict[str, str]], both: bool) -> None:
    query = QUERY.model_copy(
        update={"direction": "both" if both else "above", "expr": "sum by (a) (rate(x[5m]))"}
    )
    learned = band(np.tile(hours("daily"), (len(labels), 1)), 1.0, labels)
    file = render(learn(learned, query, CONFIG), CONFIG)
    rules = yaml.safe_load(file.text)["groups"][0]["rules"]
    recorded = [rule["labels"] for rule in rules if rule.get("record") == "pronoia:expected_upper:literal"]
    assert sorted(map(str, recorded)) == sorted(
        str({**dict(sorted(d.items())), "query": query.name}) for d in labels
    )
    assert parse(file.text) == len(rules)
    for rule in rules:
        promql_parser.parse(rule["expr"])
        assert "\x00" not in rule["expr"]
    assert file.revision in file.text


def test_learned_numbers_stand_in_no_label_and_no_name() -> None:
    one = yaml.safe_load(golden("flat").text)["groups"][0]["rules"]
    query = QUERY.model_copy(update={"name": "golden_flat"})
    moved = band(hours("flat")[None, :] + 5, 1.0, [{"__name__": "error_ratio", "service": "cdn"}])
    two = yaml.safe_load(render(learn(moved, query, CONFIG), CONFIG).text)["groups"][0]["rules"]
    assert [rule["expr"] for rule in one] != [rule["expr"] for rule in two]
    for before, after in zip(one, two, strict=True):
        for key in ("alert", "record", "labels", "for"):
            assert before.get(key) == after.get(key)


def test_a_query_with_a_single_series_without_labels_joins_on_nothing() -> None:
    file = render(learn(band(hours("flat")[None, :], 1.0, [{}]), QUERY, CONFIG), CONFIG)
    alert = yaml.safe_load(file.text)["groups"][0]["rules"][1]
    assert "> on () group_left () (" in alert["expr"]
    asyncio.run(check(file.text, promtool=binary("promtool")))


def test_a_series_own_severity_is_not_overwritten() -> None:
    learned = band(np.tile(hours("flat"), (2, 1)), 1.0, [{"severity": "info"}, {"severity": "error"}])
    rules = yaml.safe_load(render(learn(learned, QUERY, CONFIG), CONFIG).text)["groups"][0]["rules"]
    assert all("severity" not in rule["labels"] for rule in rules if "alert" in rule)


def test_a_constant_is_one_vector() -> None:
    (threshold,) = learn(band(hours("flat")[None, :], 1.0, [{}]), QUERY, CONFIG).above
    assert literal_expr(threshold) == "vector(11)"
