"""What an alert measures: the expression of its rule, and which of its series it is about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import numpy as np

from sidecar.promql.threshold import Comparison, parse_comparison
from sidecar.records import Episode
from sidecar.series import FloatArray, LabelSet, SeriesBatch

MAX_CHARACTERS, MAX_PARTS = 20_000, 500
"""Of an expression that is taken apart; a rule's has some dozens of brackets and operators. Whoever may post
alerts writes it, and nested without end it would keep the parser for seconds, or break the process off."""
_PART = re.compile(r"[-+*/%^({\[<>=!]|\b(?:and|or|unless|atan2)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Subject:
    """What an alert measures: its expression, and the comparison in it where it has one."""

    episode: Episode
    expr: str
    comparison: Comparison | None

    @classmethod
    def of(cls, episode: Episode) -> Subject | None:
        """By the address that Prometheus gives each alert; None where it has none like a rule's."""
        expr = _expression(episode.generator_url)
        if not expr or len(expr) > MAX_CHARACTERS or len(_PART.findall(expr)) > MAX_PARTS:
            return None
        found = parse_comparison(expr)
        comparison = found if isinstance(found, Comparison) else None
        return cls(episode, comparison.measured if comparison else expr, comparison)


def _expression(url: str) -> str:
    """The expression in an address; empty for one without, and for what is no address."""
    try:
        return parse_qs(urlsplit(url).query).get("g0.expr", [""])[0]
    except ValueError:
        return ""


def worst(batch: SeriesBatch, subject: Subject) -> int | None:
    """The row that it is about: the alert's own series, or of several that fit it the furthest gone."""
    rows = [row for row in range(batch.n_series) if np.isfinite(batch.values[row]).sum() >= 2]
    own = [row for row in rows if _is_of(batch.labels[row], subject.episode)]
    candidates = own or rows
    if not candidates:
        return None
    return max(candidates, key=lambda row: _how_bad(batch.values[row], subject.comparison))


def _is_of(labels: LabelSet, episode: Episode) -> bool:
    return all(episode.labels.get(name) == value for name, value in labels.items() if name != "__name__")


def _how_bad(values: FloatArray, comparison: Comparison | None) -> float:
    found = values[np.isfinite(values)]
    if comparison is not None and comparison.ordered:
        return float(found.max() if comparison.above else -found.min())
    return float(abs(found[-1] - np.median(found)) / (found.std() or 1.0))
