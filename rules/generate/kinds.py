"""Rules that need no threshold: a series gone, frozen, unlike its siblings; a query recorded.

Each returns a rule as in a rule file. `expr` is any expression of gauges or rates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rules.document import camel
from rules.rewrite import plain_number
from sidecar.config.model import QueryConfig
from sidecar.prometheus.selector import plain_matchers

Rule = dict[str, Any]
SIBLING_DISTANCE = 5.0
"""In interquartile ranges from the median of its group; normal values reach 2.5 in groups of hundreds."""

MIN_SIBLINGS = 5


def absence(name: str, expr: str, *, severity: str = "warning") -> Rule:
    """A series that was there an hour ago, and is not now."""
    return _alert(
        name,
        "Gone",
        f"{expr} offset 1h\nunless\n{expr}" if _is_selector(expr) else _offset_by_subquery(expr),
        severity,
        hold="10m",
        words="was there an hour ago and is gone",
    )


def flatline(name: str, expr: str, *, severity: str = "warning") -> Rule:
    """A series that has had the very same value for two hours, and was moving the day before."""
    return _alert(
        name,
        "Frozen",
        f"changes(({expr})[2h:1m]) == 0\nand\nchanges(({expr})[2h:1m] offset 1d) > 10",
        severity,
        hold="15m",
        words="has not moved for two hours",
    )


def sibling(
    name: str,
    expr: str,
    *,
    by: Sequence[str] = (),
    severity: str = "warning",
    min_deviation: float = 0.0,
    min_relative_deviation: float = 0.0,
) -> Rule:
    """One of a group that is far from the group's middle; groups of fewer than five are left alone.

    Where siblings are all alike any other number is far. `min_deviation`, `min_relative_deviation`: in units
    of `expr`, and as a part of the middle, what is no further from it is not.
    """
    group = ", ".join(by)
    middle = f"quantile by ({group}) (0.5, {expr})"
    wide = f"(quantile by ({group}) (0.75, {expr}) - quantile by ({group}) (0.25, {expr}))"
    away = f"abs(({expr}) - on ({group}) group_left () {middle})"
    far = f"{away}\n> on ({group}) group_left ()\n{plain_number(SIBLING_DISTANCE)} * {wide}"
    if min_deviation:
        far += f"\n> {plain_number(min_deviation)}"
    if min_relative_deviation:
        far += f"\n> on ({group}) group_left ()\n{plain_number(min_relative_deviation)} * abs({middle})"
    return _alert(
        name,
        "UnlikeItsSiblings",
        f"{far}\nand on ({group})\ncount by ({group}) ({expr}) >= {MIN_SIBLINGS}",
        severity,
        hold="10m",
        words="is far from the others of its group",
    )


def recorded(name: str, expr: str) -> Rule:
    """The expression evaluated once for all who ask for it."""
    return {"record": f"pronoia:{name}", "expr": expr}


KINDS: Mapping[str, Callable[[QueryConfig], Rule]] = {
    "absence": lambda query: absence(query.name, query.expr, severity=query.severity),
    "flatline": lambda query: flatline(query.name, query.expr, severity=query.severity),
    "sibling": lambda query: sibling(
        query.name,
        query.expr,
        severity=query.severity,
        min_deviation=query.min_deviation,
        min_relative_deviation=query.min_relative_deviation,
    ),
    "recording": lambda query: recorded(query.name, query.expr),
}
"""What can be written for a watched query, by its name on the command line."""


def _is_selector(expr: str) -> bool:
    return plain_matchers(expr) is not None


def _offset_by_subquery(expr: str) -> str:
    # `offset` belongs to selectors; a subquery moves a whole expression.
    return f"last_over_time(({expr})[5m:1m] offset 1h)\nunless\n({expr})"


def _alert(name: str, what: str, expr: str, severity: str, *, hold: str, words: str) -> Rule:
    return {
        "alert": f"{camel(name)}{what}",
        "expr": expr,
        "for": hold,
        "labels": {"severity": severity, "query": name, "generator": "pronoia"},
        "annotations": {"summary": f"{name} {words}", "description": "{{ $labels }}"},
    }
