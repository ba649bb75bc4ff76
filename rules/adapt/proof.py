"""Unit tests of rewritten rules: a value just beyond the new number fires, one just within does not."""

from __future__ import annotations

from collections.abc import Sequence

from rules.adapt.bounds import Static
from rules.adapt.history import Adapted
from rules.adapt.solve import Proposal
from rules.generate.promtool_tests import Case, promtool_file
from rules.rewrite import plain_number
from sidecar.prometheus.selector import plain_matchers
from sidecar.promql.threshold import Comparison, parse_comparison

NEARBY = 0.01
"""The two values lie this share of the number away from it."""


def unit_tests(adapted: Sequence[Adapted], rule_file: str) -> str | None:
    """A file for `promtool test rules`; None where no rule is simple enough to make a series for.

    Simple is a plain selector with `=` matchers, compared with one number.
    """
    cases = [case for one in adapted for case in _cases(one)]
    return promtool_file([rule_file], cases) if cases else None


def _cases(adapted: Adapted) -> list[Case]:
    found = adapted.outcome
    comparison = parse_comparison(adapted.written.expr)
    if not isinstance(found, Proposal) or not isinstance(found.candidate.bound, Static):
        return []
    if not isinstance(comparison, Comparison) or comparison.conditions:
        return []
    matchers = plain_matchers(comparison.measured)
    if matchers is None or any(operator != "=" for _, operator, _ in matchers):
        return []
    away = NEARBY * (abs(comparison.threshold) or 1.0) * (1 if comparison.above else -1)
    return [
        Case(adapted.rule.name, {comparison.measured: f"{plain_number(value)}x400"}, firing)
        for value, firing in ((comparison.threshold + away, 1), (comparison.threshold - away, 0))
    ]
