"""Tables by hour that rules have, read back, so that a rule which got one is adapted again as others are."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise

import numpy as np

from rules.adapt.bounds import ByHour
from rules.learn import HOURS, Segment, Threshold
from rules.read import WrittenRule
from rules.rewrite import plain_number
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


def without_table(rule: WrittenRule) -> tuple[WrittenRule, ByHour] | None:
    """The rule with the middle of its table as its number, and that table; None where it has none.

    A table with gaps, or hours that are there twice, is somebody's own.
    """
    found = _TABLE.search(rule.expr)
    table = None if found is None else _read(found["pieces"])
    if found is None or table is None:
        return None
    middle = plain_number(float(np.median(table.table.by_hour())))
    return replace(rule, expr=rule.expr[: found.start()] + middle + rule.expr[found.end() :]), table


def _read(pieces: str) -> ByHour | None:
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
