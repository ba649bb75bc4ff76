"""What is wrong with rules on this server: absent metrics, selectors and joins that match nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Protocol

import promql_parser as promql

from rules.audit.finding import Finding, Kind, in_days
from rules.audit.text import ungated
from rules.backtest.past import Window
from rules.read import WrittenRule
from sidecar.config.fields import format_duration
from sidecar.errors import PullError, PullReason
from sidecar.promql.syntax import Syntax, children
from sidecar.series import LabelSet, SeriesBatch

AWAY = (PullReason.UNREACHABLE, PullReason.UNAUTHORIZED, PullReason.CIRCUIT_OPEN)
"""Why no rule at all can be asked about; what else goes wrong is a rule's own."""

FEW_PER_SECOND = 1.0
"""With fewer events than this, single ones move a ratio over minutes by percents."""


def _comes_and_goes(rule: WrittenRule, name: str) -> bool:
    """Whether pronoia wrote the rule on its own series, some of which exist only while something is wrong."""
    return rule.labels.get("generator") == "pronoia" and name.startswith("pronoia_")


class AuditedServer(Protocol):
    """What an audit asks of a Prometheus; `PrometheusClient` has it."""

    async def series(self, matches: Sequence[str], *, start_ms: int, end_ms: int) -> list[LabelSet]:
        """Label sets that were there in the time."""
        ...

    async def label_values(self, label: str) -> list[str]:
        """All values of a label."""
        ...

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        """The value of each series at one instant."""
        ...


async def audit_source(
    rules: Sequence[WrittenRule], server: AuditedServer, window: Window, *, at_once: int = 4
) -> list[Finding]:
    """Findings of selectors and joins, of rules whose expression parses.

    One that the server refuses to look at is a finding. Raises: PullError where it cannot be asked at all.
    """
    recorded = frozenset(rule.name for rule in rules if not rule.alerting)
    look = _Look(server, window, frozenset(await server.label_values("__name__")), recorded)
    slots = asyncio.Semaphore(at_once)

    async def of(rule: WrittenRule) -> list[Finding]:
        try:
            syntax = Syntax.parse(rule.expr)
            Syntax.parse(syntax.text(syntax.tree))
        except ValueError:
            return []  # The audit of the text or of the past tells.
        async with slots:
            try:
                # What is not there cannot be joined either; one finding says it.
                return (
                    await look.selectors(rule, syntax)
                    or await look.joins(rule, syntax)
                    or await look.gates(rule)
                )
            except PullError as error:
                if error.reason in AWAY:
                    raise
                return [
                    Finding(
                        rule.key,
                        Kind.UNASKABLE,
                        f"the server refuses a part of it over {in_days(window.days)}: {error}",
                        "mend it where it is broken, else narrow or record what it aggregates",
                    )
                ]

    found = await asyncio.gather(*(of(rule) for rule in rules))
    return [finding for some in found for finding in some]


class _Look:
    """Questions about one server, each asked once."""

    def __init__(
        self, server: AuditedServer, window: Window, names: frozenset[str], recorded: frozenset[str]
    ) -> None:
        self._server = server
        self._window = window
        self._names = names
        self._recorded = recorded
        self._there: dict[str, bool] = {}

    async def selectors(self, rule: WrittenRule, syntax: Syntax) -> list[Finding]:
        """Selectors without a series in the window."""
        found = []
        for node in _selectors(syntax.tree):
            text, metric = _without_offset(syntax.text(node)), syntax.metric(node)
            if await self._is_there(text) or _comes_and_goes(rule, metric):
                continue
            days = in_days(self._window.days)
            if metric in self._recorded:
                found.append(
                    Finding(
                        rule.key,
                        Kind.MATCHES_NOTHING,
                        f"{text} is recorded by a rule, which gave nothing like it in {days}",
                        "wait where that rule is new; else look why its own expression gives nothing",
                    )
                )
            elif metric and metric not in self._names:
                found.append(
                    Finding(
                        rule.key,
                        Kind.MISSING_SERIES,
                        f"there is no metric {metric}",
                        "find out who exported it, or delete the rule",
                    )
                )
            else:
                found.append(
                    Finding(
                        rule.key,
                        Kind.MATCHES_NOTHING,
                        f"{text} matched no series in {days}"
                        + (", though the metric is there" if metric else ""),
                        "correct its matchers",
                    )
                )
        return found

    async def joins(self, rule: WrittenRule, syntax: Syntax) -> list[Finding]:
        """Operators between two sides that both have series, none of which match."""
        found = []
        for node in _walk(syntax.tree):
            if not isinstance(node, promql.BinaryExpr) or not _joins(node):
                continue
            left, right = syntax.text(node.lhs), syntax.text(node.rhs)
            on = (
                syntax.restored(str(node.modifier.matching))
                if node.modifier and node.modifier.matching
                else ""
            )
            if await self._has(left) and await self._has(right):
                if await self._has(f"(({left}) * 0 + 1) and {on} (({right}) * 0 + 1)"):
                    continue
                how = on or "all labels alike"
                found.append(
                    Finding(
                        rule.key,
                        Kind.CANNOT_JOIN,
                        f"both sides of `{node.op}` have series and none match by {how}: "
                        f"{await self._labels(left)} against {await self._labels(right)}",
                        "match by the labels that both sides have: `on (…)`",
                    )
                )
        return found

    async def gates(self, rule: WrittenRule) -> list[Finding]:
        """A ratio of rates whose denominator gets small, and that no condition looks at."""
        below = ungated(rule)
        if not below:
            return []
        hours = f"[{format_duration(max(self._window.days * 86_400 // 3600 * 3600, 3600))}:1h]"
        least = (await self._ask(f"min(min_over_time(({below}){hours}))")).values
        fewest = float(least.min()) if least.size else 0.0
        if fewest >= FEW_PER_SECOND:
            return []
        return [
            Finding(
                rule.key,
                Kind.UNGATED_RATIO,
                f"there were {fewest:.3g} a second at the fewest, so that one failure is a high share; "
                f"nothing asks how many there are in {below}",
                f"append `and {below} > {FEW_PER_SECOND:g}` or what is few for you",
                1 / max(fewest, 1e-6),
            )
        ]

    async def _is_there(self, selector: str) -> bool:
        if selector not in self._there:
            there = await self._server.series(
                [selector], start_ms=self._window.start_ms, end_ms=self._window.end_ms
            )
            self._there[selector] = bool(there)
        return self._there[selector]

    async def _has(self, expr: str) -> bool:
        return bool((await self._ask(f"count({expr})")).n_series)

    async def _labels(self, expr: str) -> str:
        one = (await self._ask(f"topk(1, {expr})")).labels
        return "{" + ", ".join(sorted(name for labels in one for name in labels)) + "}"

    async def _ask(self, expr: str) -> SeriesBatch:
        return await self._server.instant(expr, at_ms=self._window.end_ms, name="audit", max_series=10)


def _walk(node: promql.Expr) -> Iterator[promql.Expr]:
    yield node
    for child in children(node):
        yield from _walk(child)


def _selectors(node: promql.Expr) -> Iterator[promql.VectorSelector]:
    """Selectors that must have series: not those whose absence is asked for, or that excuse an alert."""
    if isinstance(node, promql.MatrixSelector):
        yield node.vector_selector
    elif isinstance(node, promql.VectorSelector):
        yield node
    elif isinstance(node, promql.Call) and node.func.name.startswith("absent"):
        return
    elif isinstance(node, promql.BinaryExpr) and str(node.op) in ("unless", "or"):
        yield from _selectors(node.lhs)
    else:
        for child in children(node):
            yield from _selectors(child)


def _joins(node: promql.BinaryExpr) -> bool:
    """Whether both sides are vectors that must match."""
    if str(node.op) in ("or", "unless"):
        return False
    return all(any(True for _ in _selectors(side)) for side in (node.lhs, node.rhs))


def _without_offset(selector: str) -> str:
    end = selector.rfind("}")
    return selector[: end + 1] if end >= 0 else selector.split()[0]
