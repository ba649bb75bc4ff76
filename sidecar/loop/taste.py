"""What people said of a series' anomalies, as how far off it has to be to be flagged again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from sidecar.records import Episode, SeriesVerdict
from sidecar.series import FloatArray, LabelSet

NOISE, USEFUL = 1.15, 0.95
"""What one verdict does to the band: a page for nothing costs people more than an early word gains them."""

LEAST, MOST = 0.75, 2.0
"""However often people said so: a series may change its nature, and no verdict makes it blind."""

HALF_LIFE_SECONDS = 90 * 86400.0
"""A verdict counts half after so long."""

VALUE, COURSE = "value", "course"
"""The two kinds of questions that a detector asks: is a value out of place, is the course of the series."""


@dataclass(frozen=True)
class Taste:
    """What is made of all verdicts on one series of a query; 1 leaves everything as it is.

    `labels`: of the series, or of an alert about it, which has more. `band`: factor of the half-widths of
    its band. `course`: what a score has to exceed where only the course of the series is unusual.
    """

    labels: LabelSet
    band: float = 1.0
    course: float = 1.0
    n_noise: int = 0
    n_useful: int = 0


@dataclass
class _Sums:
    noise: dict[str, float] = field(default_factory=lambda: {VALUE: 0.0, COURSE: 0.0})
    useful: dict[str, float] = field(default_factory=lambda: {VALUE: 0.0, COURSE: 0.0})
    n_noise: int = 0
    n_useful: int = 0


def tastes(verdicts: Iterable[SeriesVerdict], now_seconds: float) -> Mapping[str, tuple[Taste, ...]]:
    """Of each query that was spoken of, what its series' verdicts come to.

    Of one person's verdicts on one event the newest counts.
    """
    newest: dict[tuple[str, LabelSet, int, str], SeriesVerdict] = {}
    for one in verdicts:
        key = one.query, LabelSet(one.labels), one.event_ms, one.actor
        if key not in newest or one.at_ns >= newest[key].at_ns:
            newest[key] = one
    sums: dict[str, dict[LabelSet, _Sums]] = {}
    for (query, labels, _, _), one in newest.items():
        of_series = sums.setdefault(query, {}).setdefault(labels, _Sums())
        weight = 0.5 ** (max(now_seconds - one.at_ns / 1e9, 0.0) / HALF_LIFE_SECONDS)
        if one.verdict == "noise":
            of_series.noise[one.kind] += weight
            of_series.n_noise += 1
        else:
            of_series.useful[one.kind] += weight
            of_series.n_useful += 1
    return {
        query: tuple(
            Taste(labels, _factor(one, VALUE), _factor(one, COURSE), one.n_noise, one.n_useful)
            for labels, one in found.items()
        )
        for query, found in sums.items()
    }


NOT_OF_SERIES = ("alertname", "severity", "generator", "query")


def of_alerts(
    episodes: Iterable[Episode], verdict: str, *, actor: str, at_ns: int
) -> Iterator[SeriesVerdict]:
    """A verdict on an incident as verdicts on the series whose generated alerts were part of it."""
    for one in episodes:
        if one.labels.get("generator") != "pronoia" or "query" not in one.labels:
            continue
        yield SeriesVerdict(
            query=one.labels["query"],
            labels={name: value for name, value in one.labels.items() if name not in NOT_OF_SERIES},
            event_ms=one.starts_at_ns // 1_000_000,
            kind=COURSE if one.labels.get("alertname", "").endswith("Unusual") else VALUE,
            verdict=verdict,
            actor=actor,
            at_ns=at_ns,
            tenant=one.tenant,
        )


def _factor(sums: _Sums, kind: str) -> float:
    raised = math.pow(NOISE, sums.noise[kind]) * math.pow(USEFUL, sums.useful[kind])
    return min(max(raised, LEAST), MOST)


def rows_of(found: Iterable[Taste], labels: tuple[LabelSet, ...]) -> dict[int, Taste]:
    """The taste that concerns each row: all of the series' labels are among the taste's."""
    known = list(found)
    if not known:
        return {}
    by_names: dict[tuple[str, ...], dict[LabelSet, Taste]] = {}
    rows: dict[int, Taste] = {}
    for row, series in enumerate(labels):
        plain = series.without("__name__")
        names = tuple(name for name, _ in plain.pairs)
        if names not in by_names:
            by_names[names] = {
                LabelSet({name: one.labels[name] for name in names}): one
                for one in known
                if all(name in one.labels for name in names)
            }
        if plain in by_names[names]:
            rows[row] = by_names[names][plain]
    return rows


def factors(found: Iterable[Taste], labels: tuple[LabelSet, ...]) -> tuple[FloatArray, FloatArray] | None:
    """Of each row the band's factor and what its course has to exceed, (N, 1); None where all is as it is."""
    rows = rows_of(found, labels)
    if not rows:
        return None
    band, course = (np.ones((len(labels), 1)) for _ in range(2))
    for row, one in rows.items():
        band[row], course[row] = one.band, one.course
    return band, course


def in_words(one: Taste) -> str:
    """What people said of a series and what became of it, as a sentence."""
    said = [f"{n} times {word}" for n, word in ((one.n_noise, "noise"), (one.n_useful, "useful")) if n]
    effect = []
    if one.band != 1.0:
        effect.append(f"the band is {one.band:.2f} times as wide")
    if one.course != 1.0:
        effect.append(f"its course is told of beyond {one.course:.2f}")
    return f"People called its anomalies {' and '.join(said)}" + (
        f": {', '.join(effect)}." if effect else "."
    )
