"""Rewritten rules into the text of their own file: comments, order and everything else of it stay."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from rules.read import WrittenRule, read_text
from sidecar.config.fields import format_duration

Rewrite = tuple[WrittenRule, WrittenRule]
"""A rule as it is, and as it is to be."""


def rewrite_text(text: str, rewrites: Sequence[Rewrite]) -> str:
    """The file's text with the rules rewritten: expression, `for`, `keep_firing_for`.

    Raises: ValueError where a rule is not found once, or the result would say more than was asked for.
    """
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    documents = list(yaml.load_all(text))
    entries = [entry for document in documents for entry in _entries(document)]
    for before, after in rewrites:
        found = [rule for group, rule in entries if _is(group, rule, before)]
        if len(found) != 1:
            raise ValueError(f"{before.key} stands {len(found)} times in {before.file or 'the file'}")
        (rule,) = found
        rule["expr"] = _in_style_of(rule["expr"], after.expr)
        _set_duration(rule, "for", before.for_seconds, after.for_seconds)
        _set_duration(rule, "keep_firing_for", before.keep_firing_seconds, after.keep_firing_seconds)
    page = io.StringIO()
    yaml.dump_all(documents, page)
    _prove(text, page.getvalue(), rewrites)
    return page.getvalue()


def _in_style_of(old: str, expr: str) -> Any:
    """The expression as a scalar that ends and, in a folded block, breaks its lines as the old one does."""
    from ruamel.yaml.scalarstring import FoldedScalarString, LiteralScalarString

    if isinstance(old, LiteralScalarString | FoldedScalarString):
        expr += old[len(old.rstrip()) :]
    if "\n" in expr.strip():
        return LiteralScalarString(expr)
    if not isinstance(old, FoldedScalarString):
        return expr
    folded = FoldedScalarString(expr)
    pairs = zip(old, expr, strict=False)
    same = next((at for at, (ours, theirs) in enumerate(pairs) if ours != theirs), len(old))
    longer = len(expr) - len(old)
    breaks = (at if at < same else at + longer for at in getattr(old, "fold_pos", ()))
    folded.fold_pos = [at for at in breaks if 0 < at < len(expr) - 1 and expr[at] == " "]
    return folded


def _entries(document: Any) -> Iterator[tuple[Any, Any]]:
    if document is None:
        return
    if document.get("kind") == "List":
        for item in document["items"]:
            yield from _entries(item)
        return
    body = document["spec"] if document.get("kind") == "PrometheusRule" else document
    for group in body["groups"]:
        for rule in group.get("rules") or ():
            yield group, rule


def _is(group: Any, rule: Any, wanted: WrittenRule) -> bool:
    labels = {str(name): str(value) for name, value in (rule.get("labels") or {}).items()}
    return (
        rule.get("alert") == wanted.name
        and group["name"] == wanted.group
        and labels == dict(wanted.labels)
        and str(rule["expr"]).strip() == wanted.expr
    )


def _set_duration(rule: Any, key: str, before: float, after: float) -> None:
    if before == after:
        return
    if key in rule:
        rule[key] = format_duration(after)
    else:
        rule.insert(list(rule).index("expr") + 1, key, format_duration(after))


def _prove(text: str, changed: str, rewrites: Sequence[Rewrite]) -> None:
    """Both texts read as the same rules, but for those that were to change."""
    wanted = {_bare(before): _bare(after) for before, after in rewrites}
    expected = [wanted.get(_bare(rule), _bare(rule)) for rule in read_text(text)]
    if [_bare(rule) for rule in read_text(changed)] != expected:
        raise ValueError("the file would not read as it should; it is left alone")


def _bare(rule: WrittenRule) -> tuple[object, ...]:
    plain = replace(rule, file="", health="", last_error="", evaluation_seconds=None)
    return (
        plain.key,
        plain.kind,
        plain.expr.strip(),
        plain.for_seconds,
        plain.keep_firing_seconds,
        tuple(sorted(plain.annotations.items())),
        plain.interval_seconds,
    )
