"""Naming and labels of rules, as Prometheus' own documentation advises: what breaks, and what is bad style.

Sources: prometheus.io, "Recording rules" (level:metric:operations), "Alerting rules", "Data model".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rules.read import WrittenRule
from sidecar.errors import RuleError, RuleReason

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ALERT = re.compile(r"[A-Z][A-Za-z0-9_]*")
_VALUE = re.compile(r"\{\{.*\$value")


def faults(rule: WrittenRule) -> list[str]:
    """What makes the rule not work as it is meant: names that are none, labels that change all the time."""
    return list(_faults(rule))


def style(rule: WrittenRule) -> list[str]:
    """What works, and makes the rule hard to find or to route."""
    return list(_style(rule))


def refuse_faults(rules: Sequence[WrittenRule]) -> str:
    """How many rules were looked at, in words. Raises: RuleError (check failed) naming the first fault."""
    for rule in rules:
        for words in faults(rule):
            raise RuleError(RuleReason.CHECK_FAILED, f"{rule.name or 'a rule without a name'}: {words}")
    return f"names and labels of {len(rules)} rules"


def _faults(rule: WrittenRule) -> Iterator[str]:
    if not rule.name.strip():
        yield "it has no name"
    if not rule.alerting and not _METRIC.fullmatch(rule.name):
        yield "what it records is no name of a metric"
    for name, value in rule.labels.items():
        if not _LABEL.fullmatch(name) or name.startswith("__"):
            yield f"{name!r} is no name of a label"
        if _VALUE.search(value):
            yield f"label {name} holds $value: each new value is another alert, and `for` starts anew"
    if rule.alerting and "alertname" in rule.labels:
        yield "it sets the label alertname, which Prometheus does"


def _style(rule: WrittenRule) -> Iterator[str]:
    if rule.alerting and not _ALERT.fullmatch(rule.name):
        yield f"its name {rule.name!r} is not in CamelCase"
    if rule.alerting and not rule.severity:
        yield "it has no label severity to route by"
    if rule.alerting and not (rule.annotations.keys() & {"summary", "description", "message"}):
        yield "it has neither summary nor description"
    if not rule.alerting and ":" not in rule.name:
        yield "what it records is not named level:metric:operations"
