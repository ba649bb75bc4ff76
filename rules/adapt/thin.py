"""Whether a rule's past is too thin to learn from, and where that may come from, in words."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

import numpy as np

from rules.adapt.judge import Evidence
from sidecar.config.fields import parse_duration

MIN_NORMAL = 100
"""So few normal samples tell nothing of the rare ones that raise alarms."""

_OF_TWO = re.compile(r"\b(?:i?rate|increase|i?delta|deriv|predict_linear)\s*\([^()]*\[\s*(\w+)\s*\]")
"""Functions that need two samples in their range."""


def too_thin(evidence: Evidence, min_days: float) -> str:
    """Why nothing is learned from it; empty where it is enough."""
    if evidence.days < min_days - 0.01:
        return f"{evidence.days:.1f} days of history, {min_days:g} are needed"
    there = np.isfinite(evidence.values).any(axis=0)
    if not there.any():
        return f"what it measures had no value in all that time{_short_range(evidence)}"
    n_normal = int((there & evidence.normal).sum())
    if n_normal >= MIN_NORMAL:
        return ""
    since = datetime.fromtimestamp(float(evidence.times[there][0]) / 1000, UTC)
    return (
        f"it had a value at {n_normal} of {int(evidence.normal.sum())} normal evaluations, the first on "
        f"{since:%Y-%m-%d %H:%M} UTC, and {MIN_NORMAL} are needed{_short_range(evidence)}"
    )


def _seconds(duration: str) -> float:
    """Also of a plain number, as Prometheus 3 takes it; infinite of what only looks like a range."""
    try:
        return float(duration) if duration.isdecimal() else parse_duration(duration)
    except ValueError:
        return math.inf


def _short_range(evidence: Evidence) -> str:
    """That a range may be too short for the samples; empty where it holds several evaluations anyway."""
    found = min(_OF_TWO.findall(evidence.comparison.measured), key=_seconds, default="")
    if not found or _seconds(found) > 2 * evidence.step_seconds:
        return ""
    return f"; [{found}] gives none where samples are as far apart as that, or further"
