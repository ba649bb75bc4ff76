"""What is wrong with rules as they are written, seen without any history."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Self

import promql_parser as promql

from rules.audit.finding import Finding, Kind
from rules.lint import style
from rules.read import WrittenRule, taken_apart
from sidecar.promql.syntax import Syntax, bare
from sidecar.promql.threshold import Comparison

OWNERS = ("team", "owner", "service", "squad")
RUNBOOKS = ("runbook_url", "runbook", "playbook", "dashboard_runbook")
EXPENSIVE_SECONDS = 1.0
_RATES = ("rate(", "increase(", "irate(")


def audit_text(rules: Sequence[WrittenRule]) -> list[Finding]:
    """Findings of every alerting rule's own text, and of pairs."""
    alerts = [rule for rule in rules if rule.alerting]
    found = [finding for rule in alerts for finding in _of_one(rule)]
    return [*found, *_expensive(rules), *_of_pairs(alerts)]


def _of_one(rule: WrittenRule) -> Iterator[Finding]:
    if rule.health == "err":
        yield Finding(
            rule.key, Kind.BROKEN, f"Prometheus says: {rule.last_error}", "mend or delete the expression"
        )
    if rule.labels.get("generator") != "pronoia":
        yield from _of_keeping(rule)
    changing = [name for name, text in rule.labels.items() if re.search(r"\{\{.*\$value", text)]
    if changing:
        yield Finding(
            rule.key,
            Kind.CHANGING_IDENTITY,
            f"label {changing[0]} holds $value: each new value is another alert, and `for` starts anew",
            "put the value into an annotation",
        )


def _of_keeping(rule: WrittenRule) -> Iterator[Finding]:
    """What people need to find, route and handle an alert."""
    if not any(name in rule.labels or name in rule.annotations for name in OWNERS):
        yield Finding(
            rule.key, Kind.NO_OWNER, f"none of {', '.join(OWNERS)} among its labels", "label it `team: …`"
        )
    if not any(name in rule.annotations for name in RUNBOOKS):
        yield Finding(
            rule.key, Kind.NO_RUNBOOK, "no runbook_url among its annotations", "write down what to do"
        )
    for words in style(rule):
        yield Finding(rule.key, Kind.NAMING, words, "name and label it as the rules beside it")


def ungated(rule: WrittenRule) -> str:
    """The denominator of a ratio of rates which no condition looks at; empty where there is none."""
    comparison = taken_apart(rule)
    if not isinstance(comparison, Comparison):
        return ""
    syntax = Syntax.parse(comparison.measured)
    node = bare(syntax.tree)
    if not isinstance(node, promql.BinaryExpr) or str(node.op) != "/":
        return ""
    above, below = syntax.text(node.lhs), syntax.text(node.rhs)
    rates = all(any(rate in side for rate in _RATES) for side in (above, below))
    gated = any(_squeezed(below) in _squeezed(condition) for condition in comparison.conditions)
    return below if rates and not gated and comparison.above else ""


def _expensive(rules: Sequence[WrittenRule]) -> Iterator[Finding]:
    for rule in rules:
        seconds = rule.evaluation_seconds or 0.0
        if seconds > EXPENSIVE_SECONDS or (rule.interval_seconds and seconds > 0.1 * rule.interval_seconds):
            yield Finding(
                rule.key,
                Kind.EXPENSIVE,
                f"its last evaluation took {seconds:.2f} s",
                "record the inner aggregation as a rule of its own and ask for that",
                seconds,
            )


@dataclass(frozen=True, slots=True)
class _Read:
    """A rule, its expression without spaces, and what must be alike for it to imply another or be implied."""

    rule: WrittenRule
    squeezed: str
    threshold: float = math.nan
    above: bool = False
    alike: tuple[object, ...] | None = None

    @classmethod
    def of(cls, rule: WrittenRule) -> Self:
        """Taken apart once: of a thousand rules there are half a million pairs."""
        found, squeezed = taken_apart(rule), _squeezed(rule.expr)
        if not isinstance(found, Comparison):
            return cls(rule, squeezed)
        conditions = tuple(_squeezed(each) for each in found.conditions)
        alike = (_squeezed(found.measured), found.operator[0], conditions, rule.severity)
        return cls(rule, squeezed, found.threshold, found.above, alike)


def _of_pairs(alerts: Sequence[WrittenRule]) -> Iterator[Finding]:
    for one, other in combinations([_Read.of(rule) for rule in alerts], 2):
        first, second = one.rule, other.rule
        if one.squeezed == other.squeezed:
            if first.for_seconds == second.for_seconds and first.severity == second.severity:
                yield Finding(
                    second.key, Kind.DUPLICATE, f"the same expression as {first.key}", "delete one of both"
                )
            continue
        if first.name == second.name and first.key == second.key:
            yield Finding(
                second.key,
                Kind.TWINS,
                "another alert of its group has them, with another expression: nobody tells which of them "
                "fires, and neither is adapted",
                "give each a label of its own, such as `tier: …`",
            )
        for left, right in ((one, other), (other, one)):
            if _implies(left, right):
                yield Finding(
                    left.rule.key,
                    Kind.IMPLIED,
                    f"whenever it fires, {right.rule.key} of the same severity fires as well",
                    "delete it, or give it a higher severity",
                )


def _implies(one: _Read, other: _Read) -> bool:
    """Whether the first can only fire while the second does, and tells nothing more."""
    if one.alike is None or one.alike != other.alike or one.rule.for_seconds < other.rule.for_seconds:
        return False
    further = one.threshold - other.threshold
    return (further if one.above else -further) > 0


def _squeezed(expr: str) -> str:
    return re.sub(r"\s+", "", expr)
