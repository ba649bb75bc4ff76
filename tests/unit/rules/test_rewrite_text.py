"""Rule files rewritten in their own text: what was to change changed, comments stayed, nothing else moved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rules.adapt.canary import canary_text, shadows
from rules.adapt.text import rewrite_text
from rules.read import WrittenRule, read_text

TEXT = """# kept
groups:
  - name: a
    interval: 30s
    rules:
      - alert: High   # why
        expr: 'load{x="it''s"} > 5'
        labels: {severity: page}
      - alert: High
        expr: load > 7
        for: 5m
        labels: {severity: warning}
  - name: b
    rules:
      - {record: r, expr: sum(load)}
"""
OBJECT = """apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: n}
spec:
  groups:
    - name: a
      rules:
        - alert: High
          expr: load > 5
"""


def rewritten(text: str, nth: int, **changes: object) -> str:
    rules = [rule for rule in read_text(text, "here.yaml") if rule.alerting]
    return rewrite_text(text, [(rules[nth], replace(rules[nth], **changes))])  # type: ignore[arg-type]


def test_one_number_and_nothing_else() -> None:
    after = rewritten(TEXT, 1, expr="load > 8")
    assert after == TEXT.replace("load > 7", "load > 8")


def test_quotes_in_labels_mean_the_same_afterwards() -> None:
    after = rewritten(TEXT, 0, expr='load{x="it\'s"} > 6')
    assert read_text(after)[0].expr == 'load{x="it\'s"} > 6'
    assert "# why" in after


@pytest.mark.parametrize(
    ("nth", "changes", "piece"),
    [
        pytest.param(1, {"for_seconds": 600.0}, "for: 10m", id="for changed"),
        pytest.param(0, {"for_seconds": 120.0}, "for: 2m", id="for added"),
        pytest.param(1, {"keep_firing_seconds": 600.0}, "keep_firing_for: 10m", id="keep_firing_for"),
        pytest.param(1, {"expr": "load\n> 8"}, "expr: |-\n          load\n          > 8", id="lines"),
    ],
)
def test_durations_and_tables(nth: int, changes: dict[str, object], piece: str) -> None:
    after = rewritten(TEXT, nth, **changes)
    assert piece in after
    rules = [rule for rule in read_text(after) if rule.alerting]
    for name, value in changes.items():
        assert getattr(rules[nth], name) == value


def test_objects_of_a_cluster_keep_their_frame() -> None:
    after = rewritten(OBJECT, 0, expr="load > 6")
    assert after == OBJECT.replace("> 5", "> 6")


def test_a_rule_that_is_not_there_leaves_the_text_alone() -> None:
    (rule, *_) = read_text(TEXT)
    gone = replace(rule, name="Gone")
    with pytest.raises(ValueError, match="stands 0 times"):
        rewrite_text(TEXT, [(gone, gone)])


def test_shadows_are_marked_and_grouped_apart() -> None:
    old = WrittenRule("High", "load > 5", "alerting", "a", for_seconds=60, labels={"severity": "page"})
    new = replace(old, expr="load > 6")
    (shadow,) = shadows([(old, new)])
    assert dict(shadow.labels) == {"severity": "page", "pronoia_canary": "true"}
    (read,) = read_text(canary_text([(old, new)]))
    assert (read.expr, read.for_seconds, read.group) == ("load > 6", 60, "pronoia-canary-a")


@pytest.mark.parametrize("style", [">-", ">", "|", "|-"])
def test_an_expression_over_several_lines_keeps_them(style: str) -> None:
    text = f"""groups:
  - name: a
    rules:
      - alert: Ratio
        expr: {style}
          sum by (service) (rate(failed[5m])) /
          sum by (service)
          (rate(asked[5m])) > 0.0042
"""
    (rule,) = read_text(text)
    after = rewritten(text, 0, expr=rule.expr.replace("0.0042", "0.00531"))
    assert after == text.replace("0.0042", "0.00531")
