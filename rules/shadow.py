"""A generated rule file as a shadow of itself: evaluated beside the live one, and routed nowhere."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import yaml

from rules.adapt.canary import GROUP, LABEL
from rules.document import RuleFile, as_yaml


def shadow_of(file: RuleFile) -> RuleFile:
    """The same rules under other names, so that both may be loaded; alerts are marked."""
    groups = yaml.safe_load(file.text)["groups"]
    records = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    shadowed = [
        {
            **group,
            "name": f"{GROUP}-{group['name']}",
            "rules": [_shadowed(rule, records) for rule in group["rules"]],
        }
        for group in groups
    ]
    name = f"{GROUP}-{file.group}"
    header = f"# Written by pronoia: the shadow of {file.group}, for a while.\n# revision: {file.revision}\n"
    return replace(
        file, group=name, file_name=f"{name}.rules.yaml", text=header + as_yaml({"groups": shadowed})
    )


def _shadowed(rule: dict[str, Any], records: set[str]) -> dict[str, Any]:
    label, value = LABEL
    expr = rule["expr"]
    for record in records:
        expr = re.sub(rf"(?<![\w:]){re.escape(record)}(?![\w:])", _record_name(record), expr)
    rule = {**rule, "expr": expr}
    if "record" in rule:
        return {**rule, "record": _record_name(rule["record"])}
    return {**rule, "labels": {**rule.get("labels", {}), label: value}}


def _record_name(record: str) -> str:
    return f"canary:{record}"
