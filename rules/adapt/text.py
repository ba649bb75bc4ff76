"""Rewritten rules into the text of their own file: comments, order and everything else of it stay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rules.adapt.entries import Edit, Entry, entries
from rules.read import WrittenRule, read_text
from sidecar.config.fields import format_duration
from sidecar.errors import RuleError

Rewrite = tuple[WrittenRule, WrittenRule]
"""A rule as it is, and as it is to be."""

Way = list[Edit]
"""Edits that together may rewrite a rule."""


def rewrite_text(text: str, rewrites: Sequence[Rewrite]) -> str:
    """The file's text with the rules rewritten: expression, `for`, `keep_firing_for`, and not a letter else.

    Raises: ValueError where a rule is not found once, or the result would say more than was asked for.
    """
    wanted, ways = _planned(text, rewrites)
    changed = _edited(text, [edit for first, *_ in ways for edit in first])
    if _reads_as(changed, wanted):
        return changed
    if len(rewrites) > 1:
        # The least change of one of them says something else; each on its own tells of which.
        for one in rewrites:
            text = rewrite_text(text, [one])
        return text
    for way in (way for each in ways for way in each[1:]):
        changed = _edited(text, way)
        if _reads_as(changed, wanted):
            return changed
    raise ValueError("the file would not read as it should; it is left alone")


def _planned(text: str, rewrites: Sequence[Rewrite]) -> tuple[list[tuple[object, ...]], list[list[Way]]]:
    """What the text is to read as, and by rewrite the ways to get there. Raises: ValueError."""
    rules, nodes = read_text(text), entries(text)
    wanted, ways = [_bare(rule) for rule in rules], []
    for before, after in rewrites:
        found = [n for n, rule in enumerate(rules) if rule.key == before.key and rule.expr == before.expr]
        place = before.file or "the file"
        if len(found) != 1:
            how = f"stands {len(found)} times in" if found else "is no longer as it was in"
            raise ValueError(f"{before.key} {how} {place}")
        (nth,) = found
        if _durations(rules[nth]) != _durations(before):
            raise ValueError(f"{before.key} waits otherwise than it did in {place}")
        wanted[nth] = _bare(replace(after, annotations=rules[nth].annotations))
        ways.append(list(_ways(nodes[nth], before, after)))
    return wanted, ways


def _ways(entry: Entry, before: WrittenRule, after: WrittenRule) -> Iterator[Way]:
    durations = [*_duration(entry, "keep_firing_for", before.keep_firing_seconds, after.keep_firing_seconds)]
    durations += _duration(entry, "for", before.for_seconds, after.for_seconds)
    if before.expr == after.expr:
        yield durations
        return
    for edit in entry.exchanged("expr", before.expr, after.expr):
        yield [*durations, edit]


def _durations(rule: WrittenRule) -> tuple[float, float]:
    return rule.for_seconds, rule.keep_firing_seconds


def _duration(entry: Entry, key: str, before: float, after: float) -> Iterator[Edit]:
    if before == after:
        return
    old = entry.value(key)
    if old is None:
        yield entry.added(key, format_duration(after), after="expr")
    else:
        yield next(entry.exchanged(key, str(old.value), format_duration(after)))


def _edited(text: str, edits: Sequence[Edit]) -> str:
    """The last place first, so that those before stay where they are; of one place in their order."""
    for start, end, words in sorted(edits, key=lambda edit: edit[:2], reverse=True):
        text = text[:start] + words + text[end:]
    return text


def _reads_as(text: str, wanted: Sequence[tuple[object, ...]]) -> bool:
    try:
        return [_bare(rule) for rule in read_text(text)] == wanted
    except RuleError:
        return False


def _bare(rule: WrittenRule) -> tuple[object, ...]:
    return (
        rule.key,
        rule.kind,
        rule.expr.strip(),
        *_durations(rule),
        tuple(sorted(rule.annotations.items())),
        rule.interval_seconds,
    )
