"""What messages say beside what alerts do: facts of tables, values of queries, links made of labels.

All of it within a bound of time: a message does not wait for a Prometheus that is slow or away.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote

from prometheus_client import CollectorRegistry, Counter

from sidecar.config.enrichment import EnrichmentConfig, EnrichmentQuery
from sidecar.errors import PullError
from sidecar.records import Episode, Incident
from sidecar.series import LabelSet, SeriesBatch
from sidecar.telemetry import get_logger
from webhooks.respond.mapping import MappingError, MappingTable, read_table
from webhooks.respond.routing import labels_of

MAX_SERIES, SHOWN_SERIES = 20, 3
MAX_KEPT = 5_000
REST_SECONDS = 30.0
"""A Prometheus that was too slow for one message is not waited for by those that come next."""
MOST_WRITTEN_OUT = 1e15
_PLACE = re.compile(r"\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}")
RUNBOOK = "runbook_url"
AT_ONCE = 8
"""Queries at a time, however many incidents there are to tell of: Prometheus has enough to do then."""


class Source(Protocol):
    """What is asked of Prometheus."""

    async def instant(self, expr: str, *, at_ms: int, name: str, max_series: int) -> SeriesBatch:
        """The value of each series at one instant. Raises: PullError."""
        ...


@dataclass(frozen=True, slots=True)
class Enrichment:
    """What was found out about an incident."""

    facts: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


class EnrichMetrics:
    """What is told of it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.queries = Counter(
            "pronoia_enrichment_queries_total",
            "Queries for messages, by outcome: ok, empty, skipped (a label is absent, or one was late "
            "just now), error, late.",
            ["query", "result"],
            registry=registry,
        )


def filled(text: str, labels: Mapping[str, str], escape: Callable[[str], str]) -> str | None:
    """The text with `{{ label }}` replaced; None where a label is absent.

    >>> filled("a={{ job }}", {"job": "x y"}, in_url)
    'a=x%20y'
    """
    if any(not labels.get(name) for name in _PLACE.findall(text)):
        return None
    return _PLACE.sub(lambda found: escape(labels[found[1]]), text)


def in_url(value: str) -> str:
    """A label's value as part of an address: nothing of it is structure."""
    return quote(value, safe="")


def in_string(value: str) -> str:
    """A label's value inside a PromQL string in double quotes: nothing of it ends the string."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def written(batch: SeriesBatch, unit: str) -> str:
    """The values of a batch's last column for people: one, or the largest few with what tells them apart."""
    found = [
        (float(batch.values[row, -1]), labels)
        for row, labels in enumerate(batch.labels)
        if batch.values[row, -1] == batch.values[row, -1]
    ]
    found.sort(key=lambda one: -abs(one[0]))
    if len(found) == 1:
        return _number(found[0][0], unit)
    told = [f"{_distinct(labels, batch.labels)} {_number(value, unit)}" for value, labels in found]
    more = len(told) - SHOWN_SERIES
    return ", ".join(told[:SHOWN_SERIES]) + (f" and {more} more" if more > 0 else "")


class Enricher:
    """Looks things up for incidents that are about to be told of: `prepare` first, then it is at hand."""

    def __init__(
        self,
        config: EnrichmentConfig,
        *,
        episodes: Callable[[str], Awaitable[list[Episode]]],
        metrics: EnrichMetrics,
        now: Callable[[], float],
    ) -> None:
        self._episodes = episodes
        self._metrics = metrics
        self._now = now
        self._source: Source | None = None
        self._late_at = -math.inf
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._found: dict[str, Enrichment] = {}
        self._log = get_logger("enrichment")
        self.configure(config)

    def configure(self, config: EnrichmentConfig) -> None:
        """Take a configuration, and read its tables; one that cannot be read is left out and logged."""
        self._config = config
        self._tables: list[MappingTable] = []
        for table in config.tables:
            try:
                self._tables.append(read_table(table))
            except MappingError as error:
                self._log.error("table not used", table=table.name, err=str(error))

    def ask(self, source: Source | None) -> None:
        """Whom to ask from now on."""
        self._source = source

    def owner(self, incident: Incident) -> str:
        """The team that a table names as the incident's; empty where none does."""
        labels = labels_of(incident)
        return next((team for table in self._tables if (team := table.team(labels))), "")

    def of(self, incident: Incident) -> Enrichment:
        """What was found; facts and links at least, where nothing was prepared."""
        found = self._found.get(incident.incident_id)
        return found or Enrichment(self._facts(incident), {}, self._links(incident, ()))

    async def prepare(self, incidents: Iterable[Incident]) -> None:
        """Find out about incidents, all at once, in the configured time; what comes later is left out."""
        await asyncio.gather(*(self._prepare(incident) for incident in incidents))

    async def _prepare(self, incident: Incident) -> None:
        labels = {**labels_of(incident), **self._facts(incident)}
        values, episodes = await asyncio.gather(
            asyncio.gather(*(self._value(query, labels) for query in self._config.queries)),
            self._members(incident),
        )
        self._found.pop(incident.incident_id, None)
        self._found[incident.incident_id] = Enrichment(
            self._facts(incident),
            {q.name: v for q, v in zip(self._config.queries, values, strict=True) if v},
            self._links(incident, episodes),
        )
        while len(self._found) > MAX_KEPT:
            del self._found[next(iter(self._found))]

    async def _members(self, incident: Incident) -> list[Episode]:
        if not self._config.runbooks:
            return []
        return await self._episodes(incident.incident_id)

    async def _value(self, query: EnrichmentQuery, labels: Mapping[str, str]) -> str:
        outcome, value = await self._asked(query, labels)
        self._metrics.queries.labels(query.name, outcome).inc()
        return value

    async def _asked(self, query: EnrichmentQuery, labels: Mapping[str, str]) -> tuple[str, str]:
        expr = filled(query.expr, labels, in_string)
        # Either way: the clock may have been set back since it was late.
        rests = abs(self._now() - self._late_at) < REST_SECONDS
        if expr is None or self._source is None or rests:
            return "skipped", ""
        try:
            async with asyncio.timeout(self._config.timeout), self._slots:
                batch = await self._source.instant(
                    expr, at_ms=int(self._now() * 1000), name=query.name, max_series=MAX_SERIES
                )
        except TimeoutError:
            self._late_at = self._now()
            return "late", ""
        except PullError as error:
            self._log.warning("a query for a message failed", query=query.name, err=str(error))
            return "error", ""
        value = written(batch, query.unit)
        return ("ok", value) if value else ("empty", "")

    def _facts(self, incident: Incident) -> dict[str, str]:
        labels = labels_of(incident)
        facts: dict[str, str] = {}
        for table in self._tables:
            facts = {**table.find(labels), **facts}
        return facts

    def _links(self, incident: Incident, episodes: Sequence[Episode]) -> dict[str, str]:
        labels = {**labels_of(incident), **self._facts(incident)}
        links = {link.name: filled(link.url, labels, in_url) for link in self._config.links}
        found = {name: url for name, url in links.items() if url}
        runbook = _runbook(incident, episodes)
        return {"Runbook": runbook, **found} if runbook else found


def _runbook(incident: Incident, episodes: Sequence[Episode]) -> str:
    """The runbook of the probable cause's alert, or of the first one that has one."""
    cause = incident.causes[0].fingerprint if incident.causes else None
    order = sorted(episodes, key=lambda one: (one.fingerprint != cause, one.starts_at_ns))
    return next((url for url in map(runbook_of, order) if url), "")


def runbook_of(episode: Episode) -> str:
    """The address of an alert's runbook; empty where it has none that a browser may open."""
    url = episode.annotations.get(RUNBOOK, "")
    return url if url.startswith(("http://", "https://")) else ""


def _distinct(labels: LabelSet, beside: Sequence[LabelSet]) -> str:
    """What tells a series from those beside it."""
    own = {n: v for n, v in labels.items() if any(other.get(n) != v for other in beside)}
    return " ".join(own.values()) or "–"


def _number(value: float, unit: str) -> str:
    if unit == "percent":
        return f"{_digits(value * 100, 3)} %"
    if unit == "seconds":
        return f"{_digits(value, 3)} s" if abs(value) >= 1 else f"{_digits(value * 1000, 3)} ms"
    if unit == "bytes":
        for prefix in ("", "Ki", "Mi", "Gi"):
            if abs(value) < 1024:
                return f"{_digits(value, 3)} {prefix}B"
            value /= 1024
        return f"{_digits(value, 3)} TiB"
    return _digits(value, 4)


def _digits(value: float, n: int) -> str:
    """So many digits, and all of what is before the point: nobody reads 1.2e+03 s at night."""
    short = f"{value:.{n}g}"
    return f"{value:.0f}" if 10**n <= abs(float(short)) < MOST_WRITTEN_OUT else short
