"""Whether what a rule measures was out of the ordinary in an incident, or only as high as life is at times.

Pure. An alarm within an incident that does not stand out fell into it by chance, and need not do so again.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from rules.adapt.bounds import Family, ordinary
from rules.adapt.judge import Evidence
from rules.incidents import KnownIncident
from sidecar.series import BoolArray, FloatArray

PEAKS = 0.999
"""Beyond that share of normal samples of the series that were in trouble."""

STRETCHES = 0.99
"""Beyond what that share of normal stretches as long as the incident reach, of as many series: among a
thousand samples one that is beyond 999 in a thousand says nothing."""


def stands_out(evidence: Evidence, incident: KnownIncident, forms: Sequence[Family]) -> bool:
    """Whether the incident went beyond normal life, in the view of any form."""
    rows, inside = _where(evidence, incident)
    return any(
        _beyond(view[:, inside], view[:, evidence.normal])
        for family in forms
        for view in _views(family.relative[rows])
    )


def stood_out_after(evidence: Evidence, incident: KnownIncident, forms: Sequence[Family]) -> float:
    """Seconds from its start until it first went beyond nearly all of normal life; infinite: it never did."""
    rows, inside = _where(evidence, incident)
    first = np.inf
    for family in forms:
        for view in _views(family.relative[rows]):
            if not np.isfinite(view[:, evidence.normal]).any():
                continue
            beyond = (view[:, inside] > _peak(view[:, evidence.normal])).any(axis=0)
            if beyond.any():
                first = min(first, float(evidence.times[inside][beyond][0] - incident.start_ms) / 1000)
    return first


def _where(evidence: Evidence, incident: KnownIncident) -> tuple[BoolArray, BoolArray]:
    """(N,) the series in trouble, (T,) when."""
    rows = np.array([incident.matches(labels) for labels in evidence.labels], dtype=np.bool_)
    return rows, (evidence.times >= incident.start_ms) & (evidence.times <= incident.end_ms)


def _views(relative: FloatArray) -> tuple[FloatArray, FloatArray]:
    """All of it, and what is finite: a ratio that is over nothing once a day hides no height from people."""
    return relative, ordinary(relative)


def _peak(quiet: FloatArray) -> float:
    return float(np.nanquantile(quiet, PEAKS))


def _beyond(there: FloatArray, quiet: FloatArray) -> bool:
    if not (np.isfinite(there).any() and np.isfinite(quiet).any()):
        return False
    highest = np.nanmax(there)
    if highest <= _peak(quiet):
        return False
    reached = _by_stretch(quiet, there.shape[1])
    return bool(not reached.size or highest > np.quantile(reached, STRETCHES))


def _by_stretch(quiet: FloatArray, length: int) -> FloatArray:
    """The highest of any series in each stretch of so many normal samples."""
    n = quiet.shape[1] // length
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # A stretch in which nothing was there.
        highest = np.nanmax(quiet[:, : n * length].reshape(quiet.shape[0], n, length), axis=(0, 2))
    found: FloatArray = highest[np.isfinite(highest)]
    return found
