"""A threshold that is a series: joined once with the number as fallback, and never rewritten again.

The join gives every series of the left side the one value on the right: that of the
exported series while there is one, else the number. Source: prometheus.io, "Operators"
(many-to-one matching), and Prometheus' marking of series as stale when a scrape fails.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import msgspec

from rules.rewrite import plain_number, with_bound
from sidecar.prometheus.answers import Rule
from sidecar.promql.threshold import Comparison, parse_comparison

if TYPE_CHECKING:
    from rules.adapt.bounds import Bound

SERIES = "pronoia_rule_threshold"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_KEY = re.compile(r'\bkey\s*=\s*"(?P<key>[0-9a-f]+)"')
_JOIN = re.compile(
    r"on\s*\(\s*\)\s*group_left\s*\(\s*\)\s*\(\s*max\s*\(\s*"
    + SERIES
    + rf"\s*\{{(?P<matchers>(?:[^\"}}]|{_QUOTED})*)\}}\s*\)"
    + r"\s*or\s+vector\s*\(\s*(?P<number>[-+.\w]+)\s*\)\s*\)"
)


def series_key(rule_key: str) -> str:
    """What tells the series of one rule from those of its namesakes; by group, name and labels."""
    return hashlib.sha256(rule_key.encode()).hexdigest()[:8]


def with_series(expr: str, name: str, rule_key: str) -> str:
    """The expression with the rule's series in the threshold's place, and the number behind it.

    Raises: ValueError where the expression has no number of its own right of its comparison.

    >>> with_series("load > 5", "LoadHigh", "own/LoadHigh")
    'load > on () group_left () (max(pronoia_rule_threshold{rule="LoadHigh",key="87dec3d7"}) or vector(5))'
    """
    comparison = parse_comparison(expr)
    if not isinstance(comparison, Comparison):
        raise ValueError(f"{expr!r} compares no series with a number")
    quoted = name.replace("\\", r"\\").replace('"', r"\"")
    series = f'{SERIES}{{rule="{quoted}",key="{series_key(rule_key)}"}}'
    number = plain_number(comparison.threshold)
    joined = with_bound(expr, f"on () group_left () (max({series}) or vector({number}))")
    if without_series(joined) is None:
        raise ValueError(f"{expr!r} cannot be joined with a series")
    return joined


def without_series(expr: str, value: float | None = None) -> str | None:
    """The expression with a number in place of the join: the fallback's, or `value`; None without a join.

    >>> without_series('load > on () group_left () (max(pronoia_rule_threshold{key="a"}) or vector(5))')
    'load > 5'
    """
    found = _JOIN.search(expr)
    if found is None:
        return None
    number = found["number"] if value is None else plain_number(value)
    return expr[: found.start()] + number + expr[found.end() :]


def joined_key(expr: str) -> str | None:
    """What tells the series that an expression is joined with from others; None without a join."""
    join = _JOIN.search(expr)
    key = _KEY.search(join["matchers"]) if join is not None else None
    return key["key"] if key is not None else None


def as_evaluated(rules: Iterable[Rule], bounds: Mapping[str, Bound]) -> list[Rule]:
    """The rules, with the number or the table that holds in place of each join; `bounds` by series' key.

    A series that is not among them is not exported: the rule's own number holds.
    """
    return [_as_evaluated(rule, bounds) for rule in rules]


def _as_evaluated(rule: Rule, bounds: Mapping[str, Bound]) -> Rule:
    plain = without_series(rule.expr)
    if plain is None:
        return rule
    bound = bounds.get(joined_key(rule.expr) or "")
    return msgspec.structs.replace(rule, expr=plain if bound is None else bound.rewritten(plain))
