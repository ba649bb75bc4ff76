"""What a source is asked about a rule's past, and at which steps its answer means that the rule is active.

A table by hour costs a server its dozens of numbers at every step. Asked instead is what goes
beyond the tightest of them, with its values: all that the table tells of is among it, and the
hour's own number is held against it here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from rules.adapt.bounds import ByHour
from rules.adapt.judge import HOLDS
from rules.adapt.moving import without_moving
from rules.read import WrittenRule
from rules.rewrite import with_threshold
from sidecar.promql.threshold import Comparison, parse_comparison
from sidecar.series import BoolArray, SeriesBatch

HUGE = "1e300"
"""Stands for infinity where values are asked for: a ratio over nothing is beyond every threshold."""


@dataclass(frozen=True, slots=True)
class Presence:
    """The rule as it stands: 0 or 1 for every series that it gives, +Inf and NaN among them."""

    rule: WrittenRule

    @property
    def expr(self) -> str:
        """PromQL to ask for."""
        return f"({self.rule.expr}\n) >= bool -Inf"

    def active(self, batch: SeriesBatch) -> BoolArray:
        """(N, T): the rule gives the series at the step."""
        return np.isfinite(batch.values)


@dataclass(frozen=True, slots=True)
class BeyondTightest:
    """A rule with a table: values of `beyond`, the rule with the table's tightest number in its place."""

    beyond: str
    operator: str
    table: ByHour

    @property
    def expr(self) -> str:
        """PromQL to ask for."""
        return clamped(self.beyond)

    def active(self, batch: SeriesBatch) -> BoolArray:
        """(N, T): the value goes beyond the number of its hour as well."""
        held: BoolArray = HOLDS[self.operator](batch.values, self.table.at(batch.timestamps))
        return held  # False for NaN.


Question = Presence | BeyondTightest


def questions(rule: WrittenRule) -> Iterator[Question]:
    """What may be asked about the rule, the cheapest first; the last can always be."""
    cheap = _beyond_tightest(rule)
    if cheap is not None:
        yield cheap
    yield Presence(rule)


def clamped(expr: str) -> str:
    """The expression with infinite values as ±1e300."""
    return f"clamp(({expr}\n), -{HUGE}, {HUGE})"


def _beyond_tightest(rule: WrittenRule) -> BeyondTightest | None:
    plain, table = without_moving(rule) or (rule, None)
    comparison = parse_comparison(plain.expr)
    if not isinstance(table, ByHour) or not isinstance(comparison, Comparison) or not comparison.ordered:
        return None
    numbers = [segment.value for segment in table.table.segments]
    try:
        beyond = with_threshold(plain.expr, min(numbers) if comparison.above else max(numbers))
    except ValueError:
        return None
    return BeyondTightest(beyond, comparison.operator, table)
