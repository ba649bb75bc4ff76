"""Thresholds joined as series: any name, any number, read back, and taken by promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.adapt.bounds import Bound, ByHour, Static, Trend
from rules.adapt.joined import as_evaluated, series_key, with_series, without_series
from rules.adapt.threshold_series import bound_of, content_of, value_at
from rules.document import as_yaml
from rules.learn import Segment, Threshold
from rules.read import WrittenRule, taken_apart
from rules.rewrite import plain_number
from rules.verify import meaning
from sidecar.prometheus.answers import Rule
from sidecar.promql.threshold import Comparison
from sidecar.series import LabelSet
from tests.integration.servers import binary

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


@given(NAMES, NAMES, NUMBERS, NUMBERS)
def test_the_number_comes_back_and_is_what_adaptation_reads(
    name: str, group: str, number: float, value: float
) -> None:
    plain = f'load{{a="x}}y",b!="z"}} > {plain_number(number)}'
    key = f"{group}/{name}"
    joined = with_series(plain, name, key)
    assert series_key(key) in joined
    assert without_series(joined) == plain
    comparison = taken_apart(WrittenRule(name, joined, "alerting", group))
    assert isinstance(comparison, Comparison)
    assert comparison.threshold == number
    moved = without_series(joined, value)
    assert moved is not None
    assert taken_apart(WrittenRule(name, moved, "alerting", group)).threshold == value  # type: ignore[union-attr]


@settings(max_examples=3, deadline=None)
@given(st.lists(st.tuples(NAMES, NUMBERS), min_size=20, max_size=20))
def test_promtool_takes_joined_rules(
    tmp_path_factory: pytest.TempPathFactory, found: list[tuple[str, float]]
) -> None:
    folder: Path = tmp_path_factory.mktemp("joined")
    rules = [
        {
            "alert": name,
            "expr": with_series(f"load >= {plain_number(number)} and up == 1", name, f"{n}/{name}"),
        }
        for n, (name, number) in enumerate(found)
    ]
    (folder / "joined.yaml").write_text(as_yaml({"groups": [{"name": "g", "rules": rules}]}))
    done = subprocess.run(
        [binary("promtool"), "check", "rules", "joined.yaml"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


TABLE = Threshold(LabelSet(), 24, (Segment(0, 8, 5.0), Segment(8, 24, 9.5)))


@pytest.mark.parametrize(
    "bound",
    [
        pytest.param(Static(-4.5), id="number"),
        pytest.param(ByHour(TABLE), id="by hour"),
        pytest.param(Trend(10.0, 1e-4, 1.7e9, 1.7005e9), id="line"),
    ],
)
def test_what_is_stored_means_the_bound_at_every_hour(bound: Bound) -> None:
    times = 1_700_000_000_000 + np.arange(200) * 3_600_000
    assert [value_at(content_of(bound), at / 1000) for at in times.tolist()] == bound.at(times).tolist()
    assert bound_of(content_of(bound)).rewritten("load > 1") == bound.rewritten("load > 1")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param("up{job='a',code=~`5..`} > 1", 'up{code=~"5..",job="a"} > 1', id="matchers sorted"),
        pytest.param('sum by(a) (x{b="}",a="{"})', 'sum by (a) (x{a="{",b="}"})', id="braces in strings"),
    ],
)
def test_a_rule_is_known_again_as_prometheus_prints_it(ours: str, theirs: str) -> None:
    assert meaning(WrittenRule("A", ours, "alerting")) == meaning(WrittenRule("A", theirs, "alerting"))
    assert meaning(WrittenRule("A", ours, "alerting")) != meaning(
        WrittenRule("A", "up{job='b'} > 1", "alerting")
    )


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        pytest.param({}, "load > 5", id="not exported: the rule's number"),
        pytest.param({series_key("g/A"): Static(7.5)}, "load > 7.5", id="exported"),
        pytest.param({series_key("g/B"): Static(7.5)}, "load > 5", id="another rule's"),
        pytest.param({series_key("g/A"): ByHour(TABLE)}, ByHour(TABLE).rewritten("load > 5"), id="a table"),
    ],
)
def test_a_join_reads_as_what_holds(bounds: dict[str, Bound], expected: str) -> None:
    joined, plain = loaded(with_series("load > 5", "A", "g/A")), loaded("load > 4")
    assert [rule.expr for rule in as_evaluated([joined, plain], bounds)] == [expected, "load > 4"]


def loaded(expr: str) -> Rule:
    return Rule("A", expr, "alerting", "g", "f", "ok", "", "inactive", 0.0, {}, {}, [])
