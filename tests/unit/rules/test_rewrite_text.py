"""Rule files rewritten in their own text: what was to change changed, comments stayed, nothing else moved."""

from __future__ import annotations

import difflib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rules.adapt.canary import canary_text, shadows
from rules.adapt.place_file import FilePlace
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


async def test_a_file_keeps_the_ends_of_its_lines_and_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(TEXT.replace("\n", "\r\n").encode())
    path.chmod(0o664)
    place = FilePlace(path)
    before = await place.read()
    assert before is not None
    await place.write(rewritten(before, 1, expr="load > 8"), expected=before)
    assert path.read_bytes() == TEXT.replace("load > 7", "load > 8").replace("\n", "\r\n").encode()
    assert path.stat().st_mode & 0o777 == 0o664, "its people may write it still"


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
    with pytest.raises(ValueError, match="is no longer as it was"):
        rewrite_text(TEXT, [(gone, gone)])


def test_shadows_are_marked_and_grouped_apart() -> None:
    old = WrittenRule("High", "load > 5", "alerting", "a", for_seconds=60, labels={"severity": "page"})
    new = replace(old, expr="load > 6")
    (shadow,) = shadows([(old, new)])
    assert dict(shadow.labels) == {"severity": "page", "pronoia_canary": "true"}
    (read,) = read_text(canary_text([(old, new)]))
    assert (read.expr, read.for_seconds, read.group) == ("load > 6", 60, "pronoia-canary-a")


def test_what_a_group_says_of_all_its_rules_holds_for_each_and_for_their_shadows() -> None:
    """Prometheus 3 gives a group's labels to its rules; a shadow is evaluated as its group is."""
    text = """groups:
- name: a
  limit: 50
  query_offset: 1m
  partial_response_strategy: abort
  source_tenants: ["12", shop]
  labels: {team: shop, severity: info}
  rules: [{alert: High, expr: load > 5, labels: {severity: page}}]
"""
    (old,) = read_text(text)
    new = replace(old, expr="load > 6")
    assert old.key == "a/High{severity=page,team=shop}"
    assert rewrite_text(text, [(old, new)]) == text.replace("> 5", "> 6")
    (shadow,) = yaml.safe_load(canary_text([(old, new)]))["groups"]
    (rule,) = shadow.pop("rules")
    assert rule["labels"] == {"severity": "page", "team": "shop", "pronoia_canary": "true"}
    assert shadow == {
        "name": "pronoia-canary-a",
        "limit": 50,
        "query_offset": "1m",
        "partial_response_strategy": "abort",
        "source_tenants": ["12", "shop"],
    }


STYLES = {
    "lists without indent": """---
# head
groups:
- name: a
  rules:
  - alert: High
    expr: load > 5   # a guess
    labels:
      severity: page
    annotations:
      summary: plain text that
        goes on
- name: b

  rules: []
...
""",
    "wide indent": """groups:
    - name: a
      rules:
          - alert: High
            expr:   load > 5
            labels: { severity: page,   team: "a" }""",
    "no space": "groups:\n- name: a\n  rules:\n  - {alert: High, expr: load>5, labels: {a: b}}\n",
    "json": '{"groups": [{"name": "a", "rules": [{"alert": "High", "expr": "load > 5", "labels": {}}]}]}\n',
    "folded plain": "groups:\n- name: a\n  rules:\n  - expr: load\n      > 5\n    alert: High\n",
    "comments": """groups:
- name: a
  rules:
  - alert: High
    # why five
    expr: |-
      # in PromQL
      load > 5   # five

    # behind it
    labels: {a: b}
""",
    "quoted": """groups:
- name: a
  rules:
  - alert: High
    expr: "load{a=\\"b\\\\d\\"} > 5"
""",
    "scalars that look like others": """groups:
- name: a
  rules:
  - alert: High
    expr: load > 5
    labels: {paused: yes, zone: 012, at: 1:30, day: 2026-01-01, share: 1.50, none: ~}
""",
    "anchors": """x: &labels {severity: page}
groups:
- name: a
  rules:
  - alert: Low
    expr: &expr load > 5
  - alert: High
    expr: *expr
    labels: {<<: *labels, team: a}
""",
}


@pytest.mark.parametrize("text", STYLES.values(), ids=STYLES)
@pytest.mark.parametrize("eol", ["\n", "\r\n"])
def test_however_a_file_is_written_nothing_else_of_it_changes(text: str, eol: str) -> None:
    text = text.replace("\n", eol)
    rules = read_text(text)
    old = next(rule for rule in rules if rule.name == "High")
    new = replace(old, expr=old.expr.replace("5", "6.5"), for_seconds=600.0, keep_firing_seconds=60.0)
    after = rewrite_text(text, [(old, new)])
    assert read_text(after) == [new if rule == old else rule for rule in rules]
    differs = [line for line in difflib.ndiff(text.split(eol), after.split(eol)) if line[:1] in "+-"]
    assert sum(line.startswith("-") for line in differs) == 1, "one line changed"
    assert len(differs) in (2, 4), "and the durations have lines of their own, where lines are"
    assert (eol in after) == (eol in text)


@pytest.mark.parametrize(
    "rule",
    [
        "- <<: *low\n    alert: High\n    labels: {a: b}",
        "- alert: High\n    <<: *low",
        "- {<<: *low, alert: High}",
    ],
    ids=["first", "last", "in one line"],
)
def test_what_a_rule_has_from_a_merge_stays_with_the_other(rule: str) -> None:
    text = (
        f"groups:\n- name: a\n  rules:\n  - &low\n    alert: Low\n    expr: load > 5\n    for: 5m\n  {rule}\n"
    )
    low, high = read_text(text)
    new = replace(high, expr='load{a="b"} > 6', for_seconds=600.0)
    after = rewrite_text(text, [(high, new)])
    assert read_text(after) == [low, new]
    rewritten_low = replace(low, expr="load > 7")
    assert read_text(rewrite_text(text, [(low, rewritten_low), (high, new)])) == [rewritten_low, new]


def test_a_table_in_a_block_keeps_the_blocks_comment() -> None:
    text = "groups:\n- name: a\n  rules:\n  - alert: High\n    expr: >- # why\n      load\n      > 5\n"
    after = rewritten(text, 0, expr="load\n> (1 + hour())")
    assert after == text.replace(">- #", "|- #").replace("> 5", "> (1 + hour())")


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
