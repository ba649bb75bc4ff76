"""YAML as people may write it: plain values, no aliases that explode; in a configuration no key twice."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import Composer

MOST_VALUES = 100_000
"""So many may stand in a file with the help of aliases: a configuration of a thousand queries has fewer."""


def load(text: str) -> Any:
    """The document in `text`; None where it is empty.

    Raises: yaml.YAMLError with the place of what is wrong, where that is known.
    """
    try:
        # The loader is a SafeLoader: it constructs plain values only.
        return yaml.load(text, Loader=_Loader)  # noqa: S506
    except RecursionError as error:
        raise yaml.YAMLError("is nested too deeply; write it flatter") from error


def load_data(text: str) -> Any:
    """As `load`, for files of data, which may be long: by libyaml, and with keys as they come.

    Raises: yaml.YAMLError.
    """
    try:
        return yaml.load(text, Loader=_DataLoader)  # noqa: S506
    except RecursionError as error:
        raise yaml.YAMLError("is nested too deeply; write it flatter") from error


def place_of(error: yaml.YAMLError) -> str:
    """Where in the file it is, for people."""
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}, column {mark.column + 1}" if mark else "(file)"


_WORDS = {
    "expected <block end>, but found": "is indented unlike the lines above it, or lacks quotes",
    "mapping values are not allowed here": "has one ': ' too many; is it indented wrongly, or lacks quotes?",
    "could not find expected ':'": "is no `key: value`; is a ':' missing, or a quote open?",
    "found character '\\t'": "begins with a tab; indent with spaces",
    "found character": "begins with a sign that YAML keeps for itself; put the text in quotes",
}
"""What the parser says of the faults that are made most, by its beginning, and what it means."""


def words_of(error: yaml.YAMLError) -> str:
    """What is wrong there, for people."""
    words = str(getattr(error, "problem", None) or error)
    begun = getattr(error, "context_mark", None)
    if begun and words == "found unexpected end of stream":
        return f"the file ends within quotes that begin on line {begun.line + 1}"
    meant = next((meant for said, meant in _WORDS.items() if words.startswith(said)), None)
    return f"{meant} (YAML: {words})" if meant else words


class _Values:
    """Where a loader makes values: what looks like a day or a number and is none is a fault of the file."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)  # type: ignore[misc]
        except ValueError as error:
            # The 30th of February; `0b_`; a number of thousands of digits.
            words = f"looks like a day or a number, and is none ({error}); put it in quotes if it is text"
            raise yaml.constructor.ConstructorError(None, None, words, node.start_mark) from error


class _DataLoader(_Values, Composer, getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Plain values only; aliases are bounded.

    Read by libyaml, which is most of the work, and composed here: composed there, what is nested
    without end would end the process.
    """

    def __init__(self, text: str) -> None:
        super(Composer, self).__init__(text)
        Composer.__init__(self)

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _check_aliases(node)
        return node


class _Loader(_Values, yaml.SafeLoader):
    """YAML in which the same key twice is an error, not the last one silently."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _check_aliases(node)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here and not where it is constructed: by then, what is merged into it (`<<`) stands in it, too.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands twice", key.start_mark
                )
            seen.add((key.tag, key.value))
        return node


def _check_aliases(node: yaml.Node) -> None:
    """Raises: ConstructorError where aliases of aliases make a short file a document beyond all bounds."""
    counted: dict[int, int] = {}
    n_values = _n_values(node, counted)
    if n_values > max(MOST_VALUES, len(counted)):
        raise yaml.constructor.ConstructorError(
            None, None, f"its aliases stand for more than {MOST_VALUES} values; write fewer", None
        )


def _n_values(node: yaml.Node, counted: dict[int, int]) -> int:
    """How many values a node is once its aliases are written out, counted up to just beyond the bound.

    `counted`: the same of nodes met before, by identity; 0 while one is being counted.
    """
    known = counted.get(id(node))
    if known == 0:
        raise yaml.constructor.ConstructorError(
            None, None, "an alias stands within what it names", node.start_mark
        )
    if known is not None:
        return known
    counted[id(node)] = 0
    n_values = 1
    if isinstance(node, yaml.SequenceNode):
        n_values += sum(_n_values(child, counted) for child in node.value)
    elif isinstance(node, yaml.MappingNode):
        n_values += sum(_n_values(child, counted) for pair in node.value for child in pair)
    counted[id(node)] = min(n_values, MOST_VALUES + 1)
    return counted[id(node)]
