"""What is wrong with rules as they are written, seen without any history."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations

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


def _of_pairs(alerts: Sequence[WrittenRule]) -> Iterator[Finding]:
    for first, second in combinations(alerts, 2):
        if _squeezed(first.expr) == _squeezed(second.expr):
            if first.for_seconds == second.for_seconds and first.severity == second.severity:
                yield Finding(
                    second.key, Kind.DUPLICATE, f"the same expression as {first.key}", "delete one of both"
                )
            continue
        if first.key == second.key:
            yield Finding(
                second.key,
                Kind.TWINS,
                "another alert of its group has them, with another expression: nobody tells which of them "
                "fires, and neither is adapted",
                "give each a label of its own, such as `tier: …`",
            )
        for one, other in ((first, second), (second, first)):
            if _implies(one, other):
                yield Finding(
                    one.key,
                    Kind.IMPLIED,
                    f"whenever it fires, {other.key} of the same severity fires as well",
                    "delete it, or give it a higher severity",
                )


def _implies(one: WrittenRule, other: WrittenRule) -> bool:
    """Whether the first can only fire while the second does, and tells nothing more."""
    left, right = taken_apart(one), taken_apart(other)
    if not isinstance(left, Comparison) or not isinstance(right, Comparison):
        return False
    same = (
        _squeezed(left.measured) == _squeezed(right.measured)
        and left.operator[0] == right.operator[0]
        and [_squeezed(c) for c in left.conditions] == [_squeezed(c) for c in right.conditions]
        and one.severity == other.severity
        and one.for_seconds >= other.for_seconds
    )
    if not same:
        return False
    further = left.threshold - right.threshold
    return (further if left.above else -further) > 0


def _squeezed(expr: str) -> str:
    return re.sub(r"\s+", "", expr)
