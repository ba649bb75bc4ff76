"""YAML that is short and means too much is refused at once; ordinary aliases are taken."""

from __future__ import annotations

import pytest
import yaml

from sidecar.config.load import load_text
from sidecar.config.plain_yaml import MOST_VALUES, load
from sidecar.errors import ConfigError

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
