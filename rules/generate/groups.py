"""Groups of rules into a rule file whose alerts name their revision."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from rules.document import RuleFile, as_yaml

Group = dict[str, Any]
"""A group as in a rule file: name, interval perhaps, rules."""


def rule_file(name: str, groups: Sequence[Group], origin: str) -> RuleFile:
    """The file `pronoia-<name>.rules.yaml`; the same groups give the same bytes.

    `origin`: where the rules come from, in words, for the file's first line.
    """
    revision = hashlib.sha256(json.dumps(groups, sort_keys=True).encode()).hexdigest()[:12]
    group = f"pronoia-{name}"
    document = {"groups": [_marked(one, revision) for one in groups]}
    header = f"# Written by pronoia from {origin}.\n# revision: {revision}\n"
    return RuleFile(group, f"{group}.rules.yaml", revision, header + as_yaml(document))


def _marked(group: Group, revision: str) -> Group:
    rules = []
    for rule in group["rules"]:
        if "alert" in rule:
            annotations = {**rule.get("annotations", {}), "pronoia_revision": revision}
            rule = {**rule, "annotations": annotations}
        rules.append(rule)
    return {**group, "rules": rules}
