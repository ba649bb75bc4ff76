"""Unit tests of rewritten rules: a value just beyond the new number fires, one just within does not."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from rules.adapt.bounds import Static
from rules.adapt.history import Adapted
from rules.adapt.made_series import N_SAMPLES, series_for
from rules.adapt.solve import Proposal
from rules.generate.promtool_tests import Case, promtool_file
from sidecar.config.fields import parse_duration
from sidecar.promql.threshold import Comparison, parse_comparison

_RANGE = re.compile(r"\[\s*((?:\d+(?:ms|[smhdwy]))+)\s*[\]:]")
SETTLED_MINUTES = 10
"""So long after the longest range and `for` a test looks; promtool evaluates all of the file until then."""

NEARBY = 0.01
"""The two values lie this share of the number away from it."""


def unit_tests(adapted: Sequence[Adapted], rule_file: str) -> str | None:
    """A file for `promtool test rules`; None where no rule is simple enough to make series for."""
    cases = [case for one in adapted for case in _cases(one)]
    return promtool_file([rule_file], cases) if cases else None


def _cases(adapted: Adapted) -> list[Case]:
    found = adapted.outcome
    comparison = parse_comparison(adapted.written.expr)
    if not isinstance(found, Proposal) or not isinstance(found.candidate.bound, Static):
        return []
    if not isinstance(comparison, Comparison) or comparison.conditions:
        return []
    minutes = _minutes(adapted)
    if minutes > N_SAMPLES:
        return []
    away = NEARBY * (abs(comparison.threshold) or 1.0) * (1 if comparison.above else -1)
    made = [
        (series_for(comparison.measured, value), firing)
        for value, firing in ((comparison.threshold + away, 1), (comparison.threshold - away, 0))
    ]
    return [
        Case(adapted.rule.name, series, firing, at=f"{minutes}m")
        for series, firing in made
        if series is not None
    ]


def _minutes(adapted: Adapted) -> int:
    """When the alert has surely begun to fire, in whole evaluations of a test."""
    rule = adapted.written
    longest = max((parse_duration(text) for text in _RANGE.findall(rule.expr)), default=0.0)
    return 5 * math.ceil((longest + rule.for_seconds) / 300) + SETTLED_MINUTES
