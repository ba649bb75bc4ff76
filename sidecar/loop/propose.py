"""The proposal of what to watch, gathered from a Prometheus that nobody has described to us."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from sidecar.config.fields import parse_duration
from sidecar.config.model import QueryConfig
from sidecar.errors import PullError, PullReason, TooManySeries
from sidecar.loop.propose_alerts import Measured, measured
from sidecar.loop.propose_rank import (
    INTERNAL,
    OWN,
    Candidate,
    LeftOut,
    MetricFacts,
    Rank,
    candidates,
    shorten,
)
from sidecar.prometheus.answers import Metadata, Rule, Target
from sidecar.series import SeriesBatch

NAMES_AT_MOST = 20_000
"""So many pairs of metric and job are counted; a server with more is asked for fewer by its tenants."""

LABELS_AT_MOST = 2_000
"""A metric with more series than this is summed by job, without a look at its other labels."""

SHARE_OF_ONE = 0.25
"""One query may use so much of the series budget, so that one metric cannot crowd out the rest."""

LOOKS_AT_MOST = 150
"""So many candidates are tried on the server before the proposal is made of what was found."""


ENOUGH_QUERIES = 8
"""With so many found, details of machines and runtimes are left out; alone they are better than none."""

FULL = "there are enough queries before it; add what you miss by hand"
DETAIL = "a detail of a machine or a runtime, and there is more telling to watch"


class ProposalSource(Protocol):
    """What a proposal asks of a Prometheus; `PrometheusClient` has it."""

    async def metadata(self) -> Sequence[Metadata]:
        """One entry a metric, as its targets describe it."""
        ...

    async def targets(self) -> Sequence[Target]:
        """What is scraped, and how often."""
        ...

    async def rules(self) -> Sequence[Rule]:
        """Every rule that is loaded."""
        ...

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        """The value of each series at one instant."""
        ...


@dataclass(frozen=True, slots=True)
class ProposedQuery:
    """A query worth watching, why, and how many series it has now."""

    config: QueryConfig
    reason: str
    n_series: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """What to watch first, in order, and what is left out with its reason."""

    queries: tuple[ProposedQuery, ...]
    left_out: tuple[LeftOut, ...]
    n_series: int


async def propose(
    source: ProposalSource,
    *,
    max_series: int = 2000,
    max_queries: int = 25,
    watched: Sequence[QueryConfig] = (),
    now: Callable[[], float] = time.time,
) -> Proposal:
    """Ask the source what it has, and choose what to watch beside what is `watched` already.

    One that is watched is proposed anew, by its name, where its metric has got labels since that it should
    be split by: it is to take the other's place.

    Order: what existing alerts measure, then errors, latency, traffic, targets
    up, recorded series, states, and last machines and runtimes. Every query is
    tried on the server, so its count of series is true at this moment. Both
    bounds count what is watched too; the proposal's series are the new ones'.

    Raises: PullError where the source cannot be asked at all.
    """
    at_ms = int(now() * 1000)
    full = len(watched) >= max_queries  # To count every name costs a large server seconds.
    metrics = await _metrics(source, at_ms, _names_in(watched) if full else "")
    alerts, left_out = _alerts(await source.rules())
    found, worthless = candidates(metrics, alerts)
    step = step_seconds(await source.targets())
    chosen: list[ProposedQuery] = []
    taken = {query.name for query in watched}
    exprs = {query.expr for query in watched}
    before = {query.name: query.expr for query in watched}
    total = await _n_series(source, watched, at_ms)
    looks = 0
    passed_over: dict[str, list[str]] = {}
    for candidate in found:
        was = before.get(candidate.name)
        if candidate.expr in exprs or (was is not None and not _says_more(candidate, was)):
            continue
        exprs.add(candidate.expr)
        if (len(taken) >= max_queries and was is None) or looks >= LOOKS_AT_MOST:
            passed_over.setdefault(FULL, []).append(candidate.name)
            continue
        if candidate.rank >= Rank.DETAIL and len(taken) >= ENOUGH_QUERIES and was is None:
            passed_over.setdefault(DETAIL, []).append(candidate.name)
            continue
        looks += 1
        room = max(min(max_series - total, max(int(max_series * SHARE_OF_ONE), 1)), 0)
        n_series, why = await _look(source, candidate, at_ms, room)
        if why:
            passed_over.setdefault(why, []).append(candidate.name)
            continue
        name = _unused(candidate.name, taken) if was is None else candidate.name
        chosen.append(ProposedQuery(_config(candidate, name, step), candidate.reason, n_series))
        total += n_series
    left_out.extend(LeftOut(shorten(names), why) for why, names in passed_over.items())
    return Proposal(tuple(chosen), (*left_out, *worthless), sum(query.n_series for query in chosen))


def step_seconds(targets: Iterable[Target]) -> float:
    """A step for every query: a multiple of the usual scrape interval, 15 to 60 s where that allows.

    60 where the targets do not tell their interval.
    """
    intervals = [parse_duration(target.scrape_interval) for target in targets if target.scrape_interval]
    if not intervals:
        return 60.0
    usual = float(np.median(intervals))
    return usual * max(math.ceil(15.0 / usual), 1)


def _says_more(candidate: Candidate, was: str) -> bool:
    """Whether the expression says all that the one before it did, and more: by more labels, or more errors.

    One that says less, or something else, is no reason to learn anew, nor is what people did to an alert.
    """
    return candidate.rank is not Rank.ALERTED and _words(was) < _words(candidate.expr)


def _words(expr: str) -> frozenset[str]:
    return frozenset(re.findall(r"[\w:]+", expr))


_PARTS = ("_bucket", "_count", "_sum")


def _names_in(watched: Sequence[QueryConfig]) -> str:
    """A regular expression for the metrics of these queries, with all parts of histograms and summaries."""
    words = {re.sub(rf"({'|'.join(_PARTS)})$", "", word) for query in watched for word in _words(query.expr)}
    return f"({'|'.join(sorted(words))})({'|'.join(_PARTS)})?"


async def _metrics(source: ProposalSource, at_ms: int, names: str) -> list[MetricFacts]:
    """What the source has; `names`: only metrics that this regular expression matches, where it is given."""
    types: dict[str, tuple[str, str]] = {}
    for entry in await source.metadata():
        types.setdefault(entry.name, (entry.type, entry.help))
    which = f'__name__=~"{names}"' if names else '__name__!=""'
    counted = await source.instant(
        f"count by (__name__) ({{{which}}})",
        at_ms=at_ms,
        name="proposal",
        max_series=NAMES_AT_MOST,
    )
    metrics: list[MetricFacts] = []
    for labels, count in zip(counted.labels, counted.values[:, 0], strict=True):
        name = labels.get("__name__", "")
        kind, text = types.get(name) or types.get(re.sub(r"_(bucket|count|sum|total)$", "", name), ("", ""))
        metrics.append(MetricFacts(name, _TYPES.get(kind, kind), text, int(count)))
    # All at once: the client itself bounds how many are under way.
    looked_at = await asyncio.gather(*(_with_labels(source, metric, at_ms) for metric in metrics))
    return sorted(looked_at, key=lambda metric: metric.name)


_TYPES = {"unknown": "", "untyped": "", "stateset": "info", "gaugehistogram": "histogram"}


def _looked_at(metric: MetricFacts) -> bool:
    """Labels matter where series will be summed: counters, and the counts of histograms and summaries."""
    name = metric.name
    if (
        OWN.match(name)
        or INTERNAL.match(name)
        or metric.n_series > LABELS_AT_MOST
        or name.endswith(("_bucket", "_sum", "_created"))
    ):
        return False
    return metric.type == "counter" or name.endswith(("_total", "_count")) or metric.n_series > 40


async def _with_labels(source: ProposalSource, metric: MetricFacts, at_ms: int) -> MetricFacts:
    if not _looked_at(metric):
        return metric
    try:
        batch = await source.instant(metric.name, at_ms=at_ms, name="proposal", max_series=LABELS_AT_MOST)
    except PullError as error:
        if error.reason in (PullReason.UNREACHABLE, PullReason.CIRCUIT_OPEN):
            raise
        return metric
    return replace(metric, labels=batch.labels)


def _alerts(rules: Iterable[Rule]) -> tuple[list[tuple[str, Measured]], list[LeftOut]]:
    found: list[tuple[str, Measured]] = []
    left_out: list[LeftOut] = []
    for rule in rules:
        if rule.kind != "alerting" or _is_ours(rule):
            continue
        try:
            sides = measured(rule.expr)
        except ValueError:
            left_out.append(LeftOut(f"alert {rule.name}", "its expression is not understood by our parser"))
            continue
        if not sides:
            left_out.append(LeftOut(f"alert {rule.name}", "it compares no series with a threshold"))
        found.extend((rule.name, side) for side in sides)
    return found, left_out


def _is_ours(rule: Rule) -> bool:
    """Whether we wrote it: of what such a rule looks at another would be written at the next start."""
    marked = any(key.startswith("pronoia") for key in rule.labels)
    return marked or rule.labels.get("generator") == "pronoia"


async def _n_series(source: ProposalSource, watched: Sequence[QueryConfig], at_ms: int) -> int:
    """How many series these have; a query that the server does not answer has none."""
    total = 0
    for query in watched:
        try:
            batch = await source.instant(f"count({query.expr})", at_ms=at_ms, name=query.name, max_series=1)
        except PullError as error:
            if error.reason in (PullReason.UNREACHABLE, PullReason.CIRCUIT_OPEN):
                raise
        else:
            total += int(batch.values[:, 0].sum())
    return total


async def _look(source: ProposalSource, candidate: Candidate, at_ms: int, room: int) -> tuple[int, str]:
    """How many series the candidate has, or why it is left out."""
    try:
        batch = await source.instant(candidate.expr, at_ms=at_ms, name=candidate.name, max_series=room)
        if batch.n_series == 0:
            return 0, "has no series now"
        if not candidate.even_if_constant and not await _moves(source, candidate, at_ms, room):
            return 0, "did not change in the last hour, or is too young to tell"
    except TooManySeries as error:
        return (
            0,
            f"has {error.matched} series, more than the {room} that there is room for; sum it up by hand",
        )
    except PullError as error:
        if error.reason in (PullReason.UNREACHABLE, PullReason.CIRCUIT_OPEN):
            raise
        return 0, f"the server does not answer it: {error}"
    return batch.n_series, ""


async def _moves(source: ProposalSource, candidate: Candidate, at_ms: int, room: int) -> bool:
    """Whether any series was seen to change in the last hour; what is computed may be too young to tell."""
    if re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", candidate.expr):
        asked, moves = f"max(changes({candidate.expr}[1h])) > 0", 1
    else:
        over = f"({candidate.expr})[1h:5m]"
        asked, moves = f"max(changes({over})) == 0 and max(count_over_time({over})) >= 3", 0
    answer = await source.instant(asked, at_ms=at_ms, name=candidate.name, max_series=max(room, 1))
    return answer.n_series == moves


def _config(candidate: Candidate, name: str, step: float) -> QueryConfig:
    return QueryConfig(
        name=name,
        expr=candidate.expr,
        step=step,
        direction=candidate.direction,
        lower_bound=candidate.lower_bound,
        upper_bound=candidate.upper_bound,
        rule=candidate.rule,
    )


def _unused(name: str, taken: set[str]) -> str:
    number, unused = 2, name
    while unused in taken:
        unused, number = f"{name}_{number}", number + 1
    taken.add(unused)
    return unused


def configs(proposal: Proposal) -> Sequence[QueryConfig]:
    """Only the queries, as the metrics loop takes them."""
    return [query.config for query in proposal.queries]
