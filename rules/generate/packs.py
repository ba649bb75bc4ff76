"""Ready sets of rules, kept as data beside this package: what they need, when they fire, what to do then."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rules.document import RuleFile
from rules.generate.groups import rule_file
from rules.generate.promtool_tests import Case, promtool_file
from sidecar.errors import RuleError, RuleReason

FOLDER = Path(__file__).parents[1] / "packs"


@dataclass(frozen=True)
class Pack:
    """One pack as its file has it."""

    name: str
    about: str
    dashboard: str
    rules: tuple[Mapping[str, Any], ...]

    @property
    def n_alerts(self) -> int:
        """Alerting rules in it."""
        return sum("alert" in rule for rule in self.rules)

    def file(self) -> RuleFile:
        """Its rule file; every alert carries its runbook's words and the dashboard's address."""
        groups = [{"name": f"pronoia-{self.name}", "rules": [self._written(rule) for rule in self.rules]}]
        return rule_file(self.name, groups, f"the pack {self.name!r}")

    def tests(self) -> str:
        """Its `promtool test rules` file: each alert on series that must raise it, and on others."""
        cases = [case for rule in self.rules if "alert" in rule for case in _cases(rule)]
        return promtool_file([self.file().file_name], cases)

    def _written(self, rule: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in rule.items() if key not in ("runbook", "fires", "silent", "at")}
        if "alert" not in rule:
            return kept
        return {
            **kept,
            "labels": {**rule["labels"], "generator": "pronoia"},
            "annotations": {
                **rule["annotations"],
                "runbook": rule["runbook"].strip(),
                "dashboard_url": self.dashboard,
            },
        }


def _cases(rule: Mapping[str, Any]) -> list[Case]:
    at = rule.get("at", "3h")
    return [
        Case(rule["alert"], rule["fires"], 1, at),
        Case(rule["alert"], rule["silent"], 0, at),
    ]


def pack_names() -> list[str]:
    """The packs that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_pack(name: str) -> Pack:
    """The pack of that name. Raises: RuleError naming those that there are."""
    if name not in pack_names():
        raise RuleError(
            RuleReason.NOT_APPLICABLE, f"there is no pack {name!r}; known: {', '.join(pack_names())}"
        )
    document = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return Pack(name, document["about"], document["dashboard"], tuple(document["rules"]))
