"""Which alert rules have a threshold that can be forecast, and why the others have none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sidecar.engine.forecast.crossing import Threshold
from sidecar.prometheus.answers import Rule
from sidecar.promql.threshold import NoComparison, parse_comparison

_OWN = re.compile(r"^pronoia[_:]|^ALERTS(_FOR_STATE)?$")
_PREDICTS = re.compile(r"\b(predict_linear|holt_winters|double_exponential_smoothing)\b")


@dataclass(frozen=True, slots=True)
class RuleThreshold:
    """One alert rule's bound on what its expression measures."""

    rule: str
    bound: Threshold


@dataclass(frozen=True, slots=True)
class Measured:
    """An expression, and the thresholds that alert rules put on it."""

    expr: str
    thresholds: tuple[RuleThreshold, ...]


def taken_apart(rules: Iterable[Rule], max_expressions: int) -> tuple[list[Measured], Counter[str]]:
    """What is to be forecast, in the rules' order; and how many rules there are by what became of them.

    Pronoia's own rules, rules that predict by themselves, and bounds that are
    no bounds (`== 0`) are left out. Several rules on one expression share its history.
    """
    found: dict[str, dict[RuleThreshold, None]] = {}
    outcome: Counter[str] = Counter()
    for rule in rules:
        if rule.kind != "alerting":
            continue
        reason = _refused(rule)
        if reason is not None:
            outcome[reason] += 1
            continue
        comparison = parse_comparison(rule.expr)
        if isinstance(comparison, NoComparison):
            outcome[comparison.value] += 1
        elif not comparison.ordered:
            outcome["equality"] += 1
        elif any(_OWN.search(metric) for metric in comparison.metrics):
            outcome["own"] += 1
        elif comparison.measured not in found and len(found) >= max_expressions:
            outcome["beyond_max_rules"] += 1
        else:
            threshold = RuleThreshold(rule.name, Threshold(comparison.threshold, comparison.above))
            found.setdefault(comparison.measured, {})[threshold] = None
            outcome["watched"] += 1
    return [Measured(expr, tuple(thresholds)) for expr, thresholds in found.items()], outcome


def _refused(rule: Rule) -> str | None:
    if rule.labels.get("generator") == "pronoia":
        return "own"
    return "predicts_already" if _PREDICTS.search(rule.expr) else None
