"""YAML that is short and means too much is refused at once; ordinary aliases are taken."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sidecar.config.enrichment import TableConfig
from sidecar.config.load import load_text
from sidecar.errors import ConfigError
from sidecar.plain_yaml import MOST_VALUES, load, load_data
from webhooks.correlate.topology import TopologyError
from webhooks.correlate.topology import load as read_topology
from webhooks.doctor import examine
from webhooks.respond.mapping import MappingError, read_table

BOMB = "a0: &a0 {k: v}\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
MERGED = "a0: &a0 {k: v}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(BOMB, "aliases stand for more than 100000 values", id="lists of lists"),
        pytest.param(MERGED, "aliases stand for more than 100000 values", id="merged keys"),
        pytest.param("a: &a [1, *a]", "line 1, column 4: an alias stands within what it names", id="itself"),
        pytest.param("a: " + "[" * 5000, "nested too deeply", id="deep"),
        pytest.param("a:\n- 2026-02-30", "line 2, column 3: looks like a day .* and is none", id="no day"),
        pytest.param("a: 2026-01-31T25:00:00Z", "looks like a day or a number", id="no hour"),
    ],
)
def test_what_explodes_is_a_fault_of_the_file(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_text(text)


def test_aliases_and_merged_keys_mean_what_they_say() -> None:
    text = "base: &base {step: 1m, tags: &t [a]}\nq: [{<<: *base, name: x}, *base]\nt: *t\n"
    document = load(text)
    assert document["q"] == [{"step": "1m", "tags": ["a"], "name": "x"}, {"step": "1m", "tags": ["a"]}]
    assert document["t"] == ["a"]


def test_a_long_file_without_aliases_is_taken() -> None:
    values = "[" + "x, " * (MOST_VALUES // 10) + "x]"
    assert len(load(values)) == MOST_VALUES // 10 + 1


def test_the_same_key_twice_says_where() -> None:
    with pytest.raises(yaml.YAMLError, match="stands twice"):
        load("a: 1\na: 2\n")


def test_what_is_merged_may_be_overridden_on_the_way() -> None:
    text = "b: &b {k: 1, l: 1}\nx: {y: {c: &c {<<: *b, k: 2}}}\nq: {<<: *c, l: 3}\n"
    document = load(text)
    assert document["x"]["y"]["c"] == {"k": 2, "l": 1}
    assert document["q"] == {"k": 2, "l": 3}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(BOMB, "aliases stand for more than 100000 values", id="lists of lists"),
        pytest.param(MERGED, "aliases stand for more than 100000 values", id="merged keys"),
        pytest.param("a: &a [1, *a]", "an alias stands within what it names", id="itself"),
        pytest.param("a: " + "[" * 300_000 + "]" * 300_000, "nested too deeply", id="deep"),
        pytest.param("a: 2026-02-30", "looks like a day or a number, and is none", id="no day"),
    ],
)
def test_data_that_explodes_is_refused_as_well(text: str, words: str) -> None:
    with pytest.raises(yaml.YAMLError, match=words):
        load_data(text)


def test_data_means_what_a_configuration_means() -> None:
    text = "base: &base {step: 1m, tags: &t [a, 1, null]}\nq: [{<<: *base, name: x}, *base]\nt: *t\n"
    assert load_data(text) == load(text)
    assert load_data("") is None
    assert load_data("a: 1\na: 2") == {"a": 2}, "written by programs, which may say a thing twice"


def test_files_that_operators_give_are_read_so(tmp_path: Path) -> None:
    """A graph, a table of owners, and an Alertmanager's configuration."""
    file = tmp_path / "data.yaml"
    file.write_text(BOMB + "services: [{name: x, depends_on: [*a39]}]\n")
    with pytest.raises(TopologyError, match=r"data\.yaml: its aliases stand for more"):
        read_topology(file)
    with pytest.raises(MappingError, match=r"data\.yaml: its aliases stand for more"):
        read_table(TableConfig(name="t", file=file, keys=("service",)))
    (finding,) = examine(BOMB, set())
    assert "cannot be read" in finding.what
