"""Which alert rules have a threshold that can be forecast, and why the others have none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from sidecar.config.capacity import CapacityConfig
from sidecar.config.known import CalendarConfig, EventConfig
from sidecar.config.model import QueryConfig
from sidecar.engine.forecast.crossing import Threshold
from sidecar.prometheus.answers import Rule
from sidecar.promql.clock import as_distance
from sidecar.promql.syntax import Syntax, selectors
from sidecar.promql.threshold import NoComparison, parse_comparison

_OWN = re.compile(r"^pronoia[_:]|^slo:error_ratio:|^ALERTS(_FOR_STATE)?$")
"""What pronoia tells itself; when an error budget is spent is told of the objective, not of its alerts."""
_LEARNT = {"query", "ahead_of"}
"""Labels of generated rules whose threshold is itself learnt or forecast; those of packs have none."""
_PREDICTS = re.compile(r"\b(predict_linear|holt_winters|double_exponential_smoothing)\b")


About = tuple[tuple[EventConfig, ...], CalendarConfig | None]
"""The events, and the calendar or none, that are about what an expression measures."""


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
    metrics: tuple[str, ...] = ()
    capacity: bool = False
    """Not, or not only, an alert rule's: it is something that can be used up."""


KnownOf = Callable[[Measured], About]


def nothing_known(_: Measured) -> About:
    """Where nothing is configured."""
    return (), None


def taken_apart(rules: Iterable[Rule], max_expressions: int) -> tuple[list[Measured], Counter[str]]:
    """What is to be forecast, in the rules' order; and how many rules there are by what became of them.

    Of a threshold that follows the clock, the distance from it is forecast. Rules that pronoia
    learnt, rules that predict by themselves, and bounds that are no bounds (`== 0`) are left out.
    Several rules on one expression share its history. Where there are more expressions than
    `max_expressions`, those of packs are left out before those of people.
    """
    found: dict[str, dict[RuleThreshold, None]] = {}
    metrics: dict[str, tuple[str, ...]] = {}
    outcome: Counter[str] = Counter()
    for rule in sorted((rule for rule in rules if rule.kind == "alerting"), key=_generated):
        reason = _refused(rule)
        if reason is not None:
            outcome[reason] += 1
            continue
        comparison = parse_comparison(as_distance(rule.expr) or rule.expr)
        if isinstance(comparison, NoComparison):
            outcome[comparison.value] += 1
        elif not comparison.ordered:
            outcome["equality"] += 1
        elif any(_OWN.search(metric) for metric in comparison.metrics):
            outcome["own"] += 1
        elif comparison.measured not in found and len(found) >= max_expressions:
            outcome["beyond_max_rules"] += 1
        else:
            bound = Threshold.of(comparison.operator, comparison.threshold)
            threshold = RuleThreshold(rule.name, bound)
            found.setdefault(comparison.measured, {})[threshold] = None
            metrics[comparison.measured] = comparison.metrics
            outcome["watched"] += 1
    measured = [Measured(expr, tuple(of), metrics[expr]) for expr, of in found.items()]
    return measured, outcome


def with_capacities(measured: Sequence[Measured], capacities: Iterable[CapacityConfig]) -> list[Measured]:
    """What is to be forecast, and beside it what can be used up."""
    found = {one.expr: one for one in measured}
    for capacity in capacities:
        own = (RuleThreshold(capacity.name, Threshold(capacity.above, above=True)),)
        of_rules = found.get(capacity.expr)
        found[capacity.expr] = Measured(
            capacity.expr,
            (*(of_rules.thresholds if of_rules else ()), *own),
            tuple(sorted(_metrics_of(capacity.expr))),
            capacity=True,
        )
    return list(found.values())


def known_of(
    one: Measured,
    queries: Iterable[QueryConfig],
    events: Iterable[EventConfig],
    calendar: CalendarConfig,
) -> About:
    """The events, and the calendar or none, that are about what a rule measures.

    They are about queries: a rule that measures a metric of such a query is meant as well.
    """
    ours = {query.name for query in queries if _metrics_of(query.expr).intersection(one.metrics)}

    def about(named: tuple[str, ...]) -> bool:
        return bool(ours & set(named)) if named else bool(ours)

    found = tuple(event.model_copy(update={"queries": ()}) for event in events if about(event.queries))
    if calendar.country is None or not about(calendar.queries):
        return found, None
    return found, calendar.model_copy(update={"queries": ()})


def measured_by(*exprs: str) -> Measured:
    """What several expressions tell of together, without thresholds."""
    metrics = {metric for expr in exprs for metric in _metrics_of(expr)}
    return Measured(" / ".join(exprs), (), tuple(sorted(metrics)))


def _metrics_of(expr: str) -> set[str]:
    """Names that an expression selects; none where it is not PromQL but another source's dialect."""
    try:
        return {name for name in selectors(Syntax.parse(expr).tree) if name}
    except ValueError:
        return set()


def _generated(rule: Rule) -> bool:
    return rule.labels.get("generator") == "pronoia"


def _refused(rule: Rule) -> str | None:
    if _generated(rule) and _LEARNT.intersection(rule.labels):
        return "own"
    return "predicts_already" if _PREDICTS.search(rule.expr) else None
