"""The last finite bucket of a histogram, beyond which no quantile of it goes.

Where a quantile lies in the bucket `+Inf`, `histogram_quantile` gives the upper bound of the one before:
an alert at or beyond that bound never fires, whatever the latency. Source: Prometheus' documentation of
histogram_quantile. Native histograms have no such end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import promql_parser as promql

from rules.adapt.whole import QUANTILE
from rules.backtest.past import BackTester, Window
from sidecar.errors import PullError, RuleError
from sidecar.promql.syntax import Syntax, children

STEP_MS = 6 * 3_600_000
"""Buckets change with releases; a few looks a day see each."""


async def last_bucket(expr: str, tester: BackTester, window: Window) -> float:
    """The greatest finite `le` of the histograms that an expression takes quantiles of, in the window.

    Infinite where it takes none, or nobody can say.
    """
    try:
        syntax = Syntax.parse(expr)
    except ValueError:
        return math.inf
    step_ms = max(min(STEP_MS, window.end_ms - window.start_ms), window.step_ms)
    looks = Window(
        window.end_ms - (window.end_ms - window.start_ms) // step_ms * step_ms, window.end_ms, step_ms
    )
    greatest = -math.inf
    for inner in _histograms(syntax.tree):
        try:
            batch = await tester.values(f"count by (le) ({syntax.text(inner)})", "buckets", looks)
        except (PullError, RuleError):
            return math.inf
        for labels in batch.labels:
            bound = _bound(labels.get("le"))
            greatest = max(greatest, bound) if math.isfinite(bound) else greatest
    return greatest if math.isfinite(greatest) else math.inf


def _histograms(node: promql.Expr) -> Iterator[promql.Expr]:
    if isinstance(node, promql.Call) and node.func.name == QUANTILE:
        yield node.args[1]
    for child in children(node):
        yield from _histograms(child)


def _bound(le: str | None) -> float:
    try:
        return float(le) if le else math.inf
    except ValueError:
        return math.inf
