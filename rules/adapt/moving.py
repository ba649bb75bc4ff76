"""Thresholds that move by hour or through time, read back so that their rules are adapted again."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np

from rules.adapt.bounds import TREND_DAYS_AHEAD, Bound, ByHour, Trend
from rules.learn import HOURS, Segment, Threshold
from rules.read import WrittenRule
from rules.rewrite import plain_number
from sidecar.promql.threshold import Comparison, parse_comparison
from sidecar.series import LabelSet

_HOUR_OF_WEEK = r"day_of_week\s*\(\s*\)\s*\*\s*24\s*\+\s*hour\s*\(\s*\)"
_PIECE = (
    r"\s*vector\s*\(\s*(?P<value>[-+.\w]+)\s*\)"
    rf"(?:\s*and\s+on\s*\(\s*\)\s*\(\s*(?P<clock>{_HOUR_OF_WEEK}|hour\s*\(\s*\))"
    r"(?:\s*>=\s*(?P<first>\d+))?(?:\s*<\s*(?P<end>\d+))?\s*\))\s*"
)
_NAMELESS = re.sub(r"\?P<\w+>", "", _PIECE)
_ONE = re.compile(_PIECE)
_TABLE = re.compile(rf"on\s*\(\s*\)\s*group_left\s*\(\s*\)\s*\((?P<pieces>{_NAMELESS}(?:or{_NAMELESS})+)\)")
_NUMBER = r"\s*([-+]?[.\d](?:[.\w]|(?<=e)[-+])*)\s*"
_LINE = re.compile(
    rf"\({_NUMBER}\+{_NUMBER}\*\s*\(\s*scalar\s*\(\s*clamp_max\s*\(\s*"
    rf"vector\s*\(\s*time\s*\(\s*\)\s*\)\s*,{_NUMBER}\)\s*\)\s*-{_NUMBER}\)\s*\)"
)


def without_moving(rule: WrittenRule) -> tuple[WrittenRule, Bound] | None:
    """The rule with one number for its table or line, and that table or line; None where it has neither.

    The number is the table's middle, or where the line was when it was drawn. A table with gaps, or hours
    that are there twice, is somebody's own.
    """
    found = _TABLE.search(rule.expr) or _LINE.search(rule.expr)
    if found is None:
        return None
    bound = _table(found["pieces"]) if found.re is _TABLE else _line(found)
    if bound is None:
        return None
    if isinstance(bound, ByHour):
        number = float(np.median(bound.table.by_hour()))
    else:
        drawn = bound.until_seconds - TREND_DAYS_AHEAD * 86_400
        number = float(bound.at(np.array([drawn * 1000]))[0])
    expr = rule.expr[: found.start()] + plain_number(number) + rule.expr[found.end() :]
    comparison = parse_comparison(expr)
    if not isinstance(comparison, Comparison) or comparison.threshold != number:
        return None  # It stands elsewhere, as in a condition.
    return replace(rule, expr=expr), bound


def _table(pieces: str) -> ByHour | None:
    found = list(_ONE.finditer(pieces))
    clocks = {"day_of_week" in piece["clock"] for piece in found}
    if len(clocks) != 1:
        return None
    period = HOURS if clocks.pop() else 24
    try:
        segments = [
            Segment(int(piece["first"] or 0), int(piece["end"] or period), float(piece["value"]))
            for piece in found
        ]
    except ValueError:
        return None
    edges = [(0, 0), *((one.first, one.end) for one in segments), (period, period)]
    if any(before[1] != after[0] for before, after in pairwise(edges)):
        return None
    return ByHour(Threshold(LabelSet(), period, tuple(segments)))


def _line(found: re.Match[str]) -> Trend | None:
    try:
        start, slope, until, zero = (float(text) for text in found.groups())
    except ValueError:
        return None
    return Trend(start, slope, zero, until)
