"""Files that are not what they should be: what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rules.incidents import read_incidents
from rules.read import read_files, read_text
from sidecar.errors import RuleError


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("- name: an incident", "write groups, each with a name and rules", id="a list"),
        pytest.param("just words", "write groups, each with a name and rules", id="words"),
        pytest.param("queries: []", "has no 'groups'", id="a configuration"),
        pytest.param(
            "groups: [{name: g, rules: [{expr: up}]}]",
            "a rule of the group g has neither `alert` nor `record`",
            id="a rule without name",
        ),
        pytest.param("groups: [{name: g, rules: [{alert: A}]}]", "A has no `expr`", id="without expression"),
        pytest.param(
            "groups: [{name: g, rules: [{alert: A, expr: }]}]", "A has no `expr`", id="empty expression"
        ),
        pytest.param(
            "groups: [{name: g, rules: [{alert: A, expr: up, for: soon}]}]", "A: 'soon'", id="no duration"
        ),
        pytest.param("groups:\n\t- name: g", "line 2, column 1 begins with a tab", id="a tab"),
        pytest.param("groups: " + "[" * 5000, "nested too deeply", id="deep"),
    ],
)
def test_what_is_no_rule_file_is_said_in_words(text: str, words: str) -> None:
    with pytest.raises(RuleError, match=r"own\.yaml: ") as caught:
        read_text(text, "own.yaml")
    assert words in str(caught.value)
    assert "Error" not in str(caught.value)


def test_of_a_folder_promtools_tests_are_left_out(tmp_path: Path) -> None:
    """`pronoia rules generate --out` writes them beside the rules."""
    tests = tmp_path / "own.test.yaml"
    tests.write_text("rule_files: [own.yaml]\ntests:\n- interval: 1m\n")
    (tmp_path / "own.yaml").write_text("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]")
    assert [rule.name for rule in read_files([tmp_path])] == ["A"]
    with pytest.raises(RuleError, match="not a rule file"):
        read_files([tests])


def test_a_rule_file_is_no_list_of_incidents(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("groups: []")
    with pytest.raises(RuleError, match="write a list: name, start and end of each incident"):
        read_incidents(file)
