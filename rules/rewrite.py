"""A new threshold into an expression as it was written, and nothing else of it changed.

The parser's writer loses escapes, comments and open subqueries, so the number is
replaced in the text, and the result is parsed again to see that only it changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from sidecar.promql.quoted import MATCHERS, STRING
from sidecar.promql.threshold import Comparison, parse_comparison

_HIDDEN = re.compile(rf"{STRING}|\#[^\n]*|\[[^\]]*\]|{MATCHERS}")
_NUMBER = re.compile(
    r"(?<![\w.:])(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|(?i:inf))(?![\w.:])"
)
_OPENED, _CLOSED = re.compile(r"\(\s*$"), re.compile(r"\s*\)")
_SIGNED = re.compile(r"[-+]\s*$")
_PROBES = (8.25e-4, 6.125e17)
"""Numbers that no rule's author has written, exact in binary and decimal after parsing twice.

One is small and one great, since `% 100` leaves the small one as it is.
"""


def plain_number(value: float) -> str:
    """The shortest text that PromQL reads as exactly this number.

    >>> plain_number(0.05), plain_number(250000.0), plain_number(1e-09)
    ('0.05', '250000', '1e-09')
    """
    text = repr(float(value))
    return text.removesuffix(".0")


def with_threshold(expr: str, value: float) -> str:
    """The expression with that number as its threshold.

    Raises: ValueError where the threshold is not written as a number of its own.

    >>> with_threshold("rate(errors_total[5m]) > 0.05  # five percent", 0.08)
    'rate(errors_total[5m]) > 0.08  # five percent'
    """
    before = parse_comparison(expr)
    if not isinstance(before, Comparison):
        raise ValueError(f"{expr!r} compares no series with a number")
    start, end = _place(expr, before)
    changed = expr[:start] + plain_number(value) + expr[end:]
    if parse_comparison(changed) != replace(before, threshold=value):
        raise ValueError(f"the threshold of {expr!r} cannot be replaced by {value!r} alone")
    return changed


def with_bound(expr: str, bound: str) -> str:
    """The expression with PromQL text in the threshold's place, right of the operator.

    Raises: ValueError where the threshold stands left of it, or not as a number of its own.

    >>> with_bound("node_load1 > 4 and on () up", "(2 + 0.1 * hour())")
    'node_load1 > (2 + 0.1 * hour()) and on () up'
    >>> with_bound("(temperature_celsius < (-9))", "on () group_left () (-hour())")
    '(temperature_celsius < on () group_left () (-hour()))'
    """
    before = parse_comparison(expr)
    if not isinstance(before, Comparison):
        raise ValueError(f"{expr!r} compares no series with a number")
    start, end = _place(expr, before)
    while (opened := _OPENED.search(expr[:start])) and (closed := _CLOSED.match(expr[end:])):
        start, end = opened.start(), end + closed.end()  # A matching cannot stand within parentheses.
    if not re.search(r"[<>]=?\s*$", expr[:start]):
        raise ValueError(f"the threshold of {expr!r} stands left of what is measured")
    return expr[:start] + bound + expr[end:]


def _place(expr: str, comparison: Comparison) -> tuple[int, int]:
    """Where the text of the threshold begins and ends: the span that alone moves it when replaced."""
    for start, end in _spans(expr):
        if all(
            parse_comparison(expr[:start] + plain_number(probe) + expr[end:])
            == replace(comparison, threshold=probe)
            for probe in _PROBES
        ):
            return start, end
    raise ValueError(f"the threshold of {expr!r} is not written as a number of its own")


def _spans(expr: str) -> Iterator[tuple[int, int]]:
    """Numbers, then runs of numbers and what stands between; the last first, since thresholds come last."""
    visible = _HIDDEN.sub(lambda match: " " * len(match.group(0)), expr)
    numbers = [match.span() for match in _NUMBER.finditer(visible)]
    for width in range(len(numbers)):
        for last in range(len(numbers) - 1, width - 1, -1):
            start, end = numbers[last - width][0], numbers[last][1]
            yield start, end
            sign = _SIGNED.search(visible[:start])
            if sign is not None:
                yield sign.start(), end
