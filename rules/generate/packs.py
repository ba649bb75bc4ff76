"""Ready sets of rules, kept as data beside this package: what they need, when they fire, what to do then."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from rules.document import RuleFile
from rules.generate.groups import rule_file
from rules.generate.promtool_tests import Case, promtool_file
from sidecar.errors import RuleError, RuleReason

FOLDER = Path(__file__).parents[1] / "packs"
OURS = ("runbook", "dashboard", "fires", "silent", "at")
"""Keys of a pack's alert that are not those of a rule file."""


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

    @property
    def alert_names(self) -> frozenset[str]:
        """Their names."""
        return frozenset(rule["alert"] for rule in self.rules if "alert" in rule)

    def without(self, names: Collection[str]) -> Pack:
        """The pack less the alerts of these names."""
        return replace(self, rules=tuple(rule for rule in self.rules if rule.get("alert") not in names))

    def file(self) -> RuleFile:
        """Its rule file; every alert carries its runbook's words and its dashboard's address."""
        groups = [{"name": f"pronoia-{self.name}", "rules": [self._written(rule) for rule in self.rules]}]
        return rule_file(self.name, groups, f"the pack {self.name!r}")

    def tests(self) -> str:
        """Its `promtool test rules` file: each alert on series that must raise it, and on others."""
        cases = [case for rule in self.rules if "alert" in rule for case in _cases(rule)]
        return promtool_file([self.file().file_name], cases)

    def _written(self, rule: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in rule.items() if key not in OURS}
        if "alert" not in rule:
            return kept
        return {
            **kept,
            "labels": {**rule["labels"], "generator": "pronoia"},
            "annotations": {
                **rule["annotations"],
                "runbook": rule["runbook"].strip(),
                "dashboard_url": rule.get("dashboard", self.dashboard),
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


def chosen_packs(names: Iterable[str], disabled: Collection[str] = ()) -> list[Pack]:
    """The packs of those names, less the disabled alerts; a pack of which nothing is left is not there.

    Raises: RuleError naming each pack that there is not, or each disabled alert that none of them has.
    """
    packs = [load_pack(name) for name in names]
    known = {alert for pack in packs for alert in pack.alert_names}
    unknown = [_unknown(alert, known) for alert in disabled if alert not in known]
    if unknown:
        raise RuleError(RuleReason.NOT_APPLICABLE, "; ".join(unknown))
    return [pack for pack in (one.without(disabled) for one in packs) if pack.rules]


def _unknown(alert: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(alert, known, n=1)
    if near:
        return f"no alert of these packs is named {alert!r}; did you mean {near[0]!r}?"
    if not known:
        return f"no pack is chosen that has an alert {alert!r}"
    return f"no alert of these packs is named {alert!r}; they have {', '.join(sorted(known))}"
