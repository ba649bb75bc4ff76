"""Unit tests of rewritten rules: a value just beyond the new number fires, one just within does not."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import promql_parser as promql

from rules.adapt.bounds import EPOCH_HOUR, ByHour, Static, Trend
from rules.adapt.history import Adapted
from rules.adapt.made_series import N_SAMPLES, series_for
from rules.adapt.solve import Proposal
from rules.generate.promtool_tests import Case, promtool_file
from sidecar.config.fields import parse_duration
from sidecar.promql.syntax import Syntax, bare
from sidecar.promql.threshold import Comparison, parse_comparison

_RANGE = re.compile(r"\[\s*((?:\d+(?:ms|[smhdwy]))+)\s*[\]:]")
STEP_MINUTES = 30
"""How often promtool evaluates all rules of the file, for each case, from 1970-01-01 00:00 until it looks."""

NEARBY = 0.01
"""The two values lie this share of the number away from it."""

CLOSE = 3 * NEARBY
"""Numbers of a table that differ by a smaller share are taken to be one."""


MAX_TABLES = 3
"""So many tables are tested of one file: promtool needs a second for the first, and longer for each more."""


@dataclass(frozen=True, slots=True)
class UnitTests:
    """A file for `promtool test rules`, empty where there is nothing to test; by rule why it has none."""

    text: str
    left_out: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Look:
    """A minute at which the threshold is that number, and has been for long enough."""

    minute: int
    number: float


class _NoTestError(Exception):
    """Why there is no unit test."""


def unit_tests(adapted: Sequence[Adapted], rule_file: str) -> UnitTests:
    """Tests of those rewrites that series can be made for."""
    cases: list[Case] = []
    left_out: dict[str, str] = {}
    n_tables = 0
    for one in adapted:
        try:
            if _is_table(one) and n_tables == MAX_TABLES:
                raise _NoTestError(f"{MAX_TABLES} tables of its file are tested, and promtool takes long")
            cases += _cases(one)
            n_tables += _is_table(one)
        except _NoTestError as why:
            left_out[one.rule.name] = str(why)
    evaluation = f"{STEP_MINUTES}m"
    text = promtool_file([rule_file], cases, evaluation=evaluation) if cases else ""
    return UnitTests(text, left_out)


def _is_table(adapted: Adapted) -> bool:
    return isinstance(adapted.outcome, Proposal) and isinstance(adapted.outcome.candidate.bound, ByHour)


def _cases(adapted: Adapted) -> Iterator[Case]:
    """The measured value on both sides of each number that is looked at. Raises: _NoTestError."""
    measured, above = _taken_apart(adapted)
    looks = _looks(adapted)
    # Rules of one name are often told apart by severity.
    labels = {name: value for name, value in adapted.rule.labels.items() if "{{" not in value}
    n_made = 0
    for number in dict.fromkeys(look.number for look in looks):
        away = NEARBY * (abs(number) or 1.0) * (1 if above else -1)
        for value in (float(f"{number + side:.6g}") for side in (away, -away)):
            series = series_for(measured, value)
            if series is not None:
                fires = [(f"{look.minute}m", int((value > look.number) == above)) for look in looks]
                (at, firing), *later = fires
                yield Case(adapted.rule.name, series, firing, at, later=dict(later), labels=labels)
                n_made += 1
    if not n_made:
        raise _NoTestError(f"no series are known that give {measured} a wanted value")


def _taken_apart(adapted: Adapted) -> tuple[str, bool]:
    """What is measured, and whether it fires above its threshold."""
    if adapted.joined:
        raise _NoTestError("its threshold is a series")
    bound = adapted.outcome.candidate.bound if isinstance(adapted.outcome, Proposal) else None
    if isinstance(bound, Trend):
        raise _NoTestError("its threshold is a line through time, and promtool's time begins in 1970")
    if isinstance(bound, ByHour):
        return _of_table(adapted.written.expr)
    found = parse_comparison(adapted.written.expr)
    if not isinstance(found, Comparison) or not found.ordered:
        raise _NoTestError("it is more than one comparison with a number")
    if found.conditions:
        raise _NoTestError("it has conditions beside its comparison")
    return found.measured, found.above


def _of_table(expr: str) -> tuple[str, bool]:
    syntax = Syntax.parse(expr)
    node = bare(syntax.tree)
    if not isinstance(node, promql.BinaryExpr) or str(node.op) not in (">", ">=", "<", "<="):
        raise _NoTestError("it has conditions beside its comparison")
    return syntax.text(bare(node.lhs)), str(node.op).startswith(">")


def _looks(adapted: Adapted) -> list[_Look]:
    """When to look: once at a number; at the tightest and the loosest of what a table has for a Thursday."""
    assert isinstance(adapted.outcome, Proposal)
    rule, bound = adapted.written, adapted.outcome.candidate.bound
    ranges = (parse_duration(text) for text in _RANGE.findall(rule.expr))
    first = max(_in_steps(max(ranges, default=0.0)), STEP_MINUTES)
    # Before that a rate sees half of its range, and may be low enough for an alert that goes on.
    holds = _in_steps(max(rule.for_seconds, rule.keep_firing_seconds))
    if isinstance(bound, Static):
        if first + holds > N_SAMPLES:
            raise _NoTestError("it looks back or waits for more than a day")
        return [_Look(first + holds, _threshold(rule.expr))]
    assert isinstance(bound, ByHour)
    looks = [
        _Look(end - STEP_MINUTES, number)
        for start, end, number in _stretches(bound)
        if end - STEP_MINUTES - max(start, first) >= holds
    ]
    if not looks:
        raise _NoTestError("no number of its table holds for as long as it waits")
    least, most = (choose(looks, key=lambda look: look.number) for choose in (min, max))
    apart = most.number - least.number > CLOSE * max(abs(most.number), abs(least.number))
    return sorted((least, most), key=lambda look: look.minute) if apart else [least]


def _threshold(expr: str) -> float:
    found = parse_comparison(expr)
    assert isinstance(found, Comparison)
    return found.threshold


def _in_steps(seconds: float) -> int:
    """Minutes until an evaluation that is no sooner."""
    return STEP_MINUTES * math.ceil(seconds / 60 / STEP_MINUTES)


def _stretches(bound: ByHour) -> Iterator[tuple[int, int, float]]:
    """First minute, minute after and number of each run of hours with one, on promtool's first day."""
    day = bound.table.by_hour()[EPOCH_HOUR : EPOCH_HOUR + 24]
    start = 0
    for hour in range(1, 25):
        if hour == 24 or day[hour] != day[start]:
            yield 60 * start, 60 * hour, day[start]
            start = hour
