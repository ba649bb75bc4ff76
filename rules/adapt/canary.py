"""Rewritten rules as shadows beside those that are live: evaluated, seen, and routed nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rules.adapt.text import Rewrite
from rules.document import as_yaml
from rules.read import WrittenRule, read_text
from sidecar.config.fields import format_duration
from sidecar.records import RuleRevision

LABEL = ("pronoia_canary", "true")
"""Route this label to a receiver without integrations, before every other route."""

GROUP = "pronoia-canary"


def canary_path(path: Path) -> Path:
    """The shadow's file: beside the rule file, so that what loads the one loads the other.

    >>> canary_path(Path("/etc/rules/app.yml"))
    PosixPath('/etc/rules/pronoia-canary-app.yml')
    """
    return path.with_name(f"{GROUP}-{path.name}")


def shadows(rewrites: Sequence[Rewrite]) -> list[WrittenRule]:
    """The rules as they are to be, marked as shadows."""
    name, value = LABEL
    return [
        replace(new, group=f"{GROUP}-{new.group}", labels={**new.labels, name: value}) for _, new in rewrites
    ]


def canary_text(rewrites: Sequence[Rewrite]) -> str:
    """The shadow's rule file."""
    groups: dict[str, dict[str, Any]] = {}
    for rule in shadows(rewrites):
        group = groups.setdefault(rule.group, {"name": rule.group, **rule.group_options, "rules": []})
        if rule.interval_seconds:
            group["interval"] = format_duration(rule.interval_seconds)
        group["rules"].append(_as_entry(rule))
    return "# Written by pronoia: shadows of rewritten rules, for a while.\n" + as_yaml(
        {"groups": list(groups.values())}
    )


def rewrites_of(revision: RuleRevision, file: str = "") -> list[Rewrite]:
    """The rules that a revision rewrote, from the texts that it remembers."""
    before = read_text(str(revision.evidence["before"]), file)
    after = read_text(revision.content, file)
    return [(old, new) for old, new in zip(before, after, strict=True) if old != new]


def is_shadow(revision: RuleRevision) -> bool:
    """Whether it runs, ran or was to run beside the live rules."""
    return "canary_seconds" in revision.evidence


def _as_entry(rule: WrittenRule) -> dict[str, Any]:
    entry: dict[str, Any] = {"alert": rule.name, "expr": rule.expr}
    if rule.for_seconds:
        entry["for"] = format_duration(rule.for_seconds)
    if rule.keep_firing_seconds:
        entry["keep_firing_for"] = format_duration(rule.keep_firing_seconds)
    return {**entry, "labels": dict(rule.labels), "annotations": dict(rule.annotations)}
