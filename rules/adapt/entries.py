"""Where in a YAML text each rule's values stand, and what may be written there instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

Edit = tuple[int, int, str]
"""What stands from one place of a text to before another, and what is to stand there."""

_ALIAS = re.compile(r"\s*:\s*(\*[^\s,}\]]+)")
_ANCHOR = re.compile(r"(?:[&!]\S*\s+)*")
_BLOCKS = ("|", ">")
_COMMENTED = re.compile(r"[|>][-+\d]*(\s+#[^\r\n]*)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule's mapping in a text."""

    text: str
    node: yaml.MappingNode

    def value(self, key: str) -> yaml.ScalarNode | None:
        """The scalar of that key; None where there is none."""
        return next((value for name, value in self.node.value if name.value == key), None)

    def exchanged(self, key: str, old: str, new: str) -> Iterator[Edit]:
        """Ways to write `new` in place of `old`, which the key's scalar says: the least change first.

        What the key has from a merge (`<<: *other`) stays with the other: the rule gets a key of its own.
        """
        pair = next(((name, value) for name, value in self.node.value if name.value == key), None)
        if pair is None:
            yield self.added(key, json.dumps(new, ensure_ascii=False), after=key)
            return
        name, value = pair
        alias = _ALIAS.match(self.text, name.end_mark.index)
        start, end = alias.span(1) if alias else (value.start_mark.index, value.end_mark.index)
        style = "" if alias else value.style or ""
        raw = self.text[start:end]
        if not alias and style not in ("'", '"') and "\n" not in (core := _core(raw, style, old, new))[2]:
            yield start + core[0], start + core[1], core[2]
        kept = raw[len(raw.rstrip()) :] if style in _BLOCKS else ""
        header = _COMMENTED.match(raw) if style in _BLOCKS else None
        for text in self._scalars(new, style, name.start_mark.column, header[1] if header else ""):
            yield start, end - len(kept), text

    def _scalars(self, words: str, style: str, column: int, comment: str) -> Iterator[str]:
        """The words as a scalar, in the style if that is to be had; the comment of a block stays with it."""
        lines = words.strip().splitlines()
        if not self.node.flow_style and (len(lines) > 1 or style in _BLOCKS):
            indent = " " * (column + 2)
            yield self._eol.join((f"|-{comment}", *(indent + line if line else "" for line in lines)))
        if len(lines) == 1 and not style:
            yield words
        if len(lines) == 1 and style == "'":
            yield "'" + words.replace("'", "''") + "'"
        yield json.dumps(words, ensure_ascii=False)

    def added(self, key: str, words: str, *, after: str) -> Edit:
        """A scalar of a new key behind another one, or behind the name where that one comes from a merge.

        Raises: ValueError where the name does as well.
        """
        own = {name.value: (name, value) for name, value in self.node.value}
        if not own.keys() & {after, "alert"}:
            raise ValueError("a rule has its name from another one, by a merge")
        name, value = own.get(after) or own["alert"]
        alias = _ALIAS.match(self.text, name.end_mark.index)
        end = alias.end(1) if alias else value.end_mark.index
        if self.node.flow_style:
            quote = '"' if self.text[name.start_mark.index] == '"' else ""
            return end, end, f", {quote}{key}{quote}: {quote}{words}{quote}"
        if not alias and value.style in _BLOCKS:
            start = value.start_mark.index
            end = start + len(self.text[start:end].rstrip())
        line_end = self.text.find("\n", end)
        end = len(self.text) if line_end < 0 else line_end - (self.text[line_end - 1] == "\r")
        return end, end, f"{self._eol}{' ' * name.start_mark.column}{key}: {words}"

    @property
    def _eol(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"


def entries(text: str) -> list[Entry]:
    """The rules of a rule file, of PrometheusRule objects, or of a list of such, in order."""
    return [Entry(text, node) for document in yaml.compose_all(text) for node in _rules(document)]


def _rules(document: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    if not isinstance(document, yaml.MappingNode):
        return
    kind = _get(document, "kind")
    body: yaml.Node | None = document
    if isinstance(kind, yaml.ScalarNode) and kind.value == "List":
        for item in _items(_get(document, "items")):
            yield from _rules(item)
        return
    if isinstance(kind, yaml.ScalarNode) and kind.value == "PrometheusRule":
        body = _get(document, "spec")
    for group in _items(_get(body, "groups")):
        for rule in _items(_get(group, "rules")):
            if isinstance(rule, yaml.MappingNode):
                yield rule


def _get(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for name, value in pairs if name.value == key), None)


def _items(node: yaml.Node | None) -> Sequence[yaml.Node]:
    return node.value if isinstance(node, yaml.SequenceNode) else ()


def _core(raw: str, style: str, old: str, new: str) -> Edit:
    """The words in which two texts differ, as a change of the scalar that says the old one.

    Folding moves white space only, so what is no white space is counted.
    """
    before = _same_words(old, new)
    rest, other = old[before:], new[before:]
    behind = _same_words(rest[::-1], other[::-1])
    rest, other = rest[: len(rest) - behind], other[: len(other) - behind]
    head = raw.find("\n") + 1 if style in _BLOCKS else 0
    anchor = _ANCHOR.match(raw)
    first = head or (anchor.end() if anchor else 0)
    places = [at for at in range(first, len(raw)) if not raw[at].isspace()]
    n_before, n_rest = (len("".join(part.split())) for part in (old[:before], rest))
    if n_before + n_rest > len(places):
        return 0, 0, "\n"  # It is not what it was taken for.
    if n_rest:
        return places[n_before], places[n_before + n_rest - 1] + 1, other
    place = places[n_before - 1] + 1 if n_before else first
    return place, place, other


def _same_words(one: str, other: str) -> int:
    """How many letters both begin with, but for the beginning of a word."""
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    return max((at + 1 for at, letter in enumerate(one[:same]) if letter.isspace()), default=0)
