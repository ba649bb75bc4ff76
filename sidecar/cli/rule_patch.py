"""Proposed changes of rules as a patch of the files that they are written in."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rules.adapt.text import Rewrite
    from webhooks.quieten.flapping import Proposal


def patch_of(changes: Iterable[Proposal], places: Iterable[Path]) -> str:
    """A unified diff that makes the changes, each adding its seconds; empty where no file has such a rule.

    Rules labelled `pronoia: ignore` stay as they are.

    Raises: RuleError for what is no rule file; ValueError where a rule cannot be rewritten.
    """
    from rules.adapt.text import rewrite_text
    from rules.read import read_files

    wanted = {one.alertname: one for one in changes}
    by_file: defaultdict[str, list[Rewrite]] = defaultdict(list)
    for rule in read_files(places):
        change = wanted.get(rule.name)
        if change is None or not rule.alerting or rule.protected:
            continue
        if change.field == "for":
            after = replace(rule, for_seconds=rule.for_seconds + change.seconds)
        else:
            after = replace(rule, keep_firing_seconds=rule.keep_firing_seconds + change.seconds)
        by_file[rule.file].append((rule, after))
    diffs = []
    for file, rewrites in sorted(by_file.items()):
        text = Path(file).read_text(encoding="utf-8")
        before, changed = (part.splitlines(keepends=True) for part in (text, rewrite_text(text, rewrites)))
        diffs.append("".join(difflib.unified_diff(before, changed, file, file)))
    return "".join(diffs)
