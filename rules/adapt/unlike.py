"""Whether a rule's series differ so much in size that no one number suits them all. Pure."""

from __future__ import annotations

import numpy as np

from rules.adapt.bounds import ordinary
from rules.adapt.judge import Evidence

TIMES = 10.0
"""So many times the middle one's usual value is that of the series which a number must leave alone."""

MIN_SERIES = 3


def unlike(evidence: Evidence) -> str:
    """What to do about such series, in words; empty where one number may suit them.

    One that leaves the loudest alone (below a threshold: the smallest) is out of reach for half of them.
    """
    quiet = ordinary(evidence.values[:, evidence.normal])
    quiet = quiet[np.isfinite(quiet).any(axis=1)]
    usual = np.nanmedian(quiet, axis=1) if len(quiet) >= MIN_SERIES else np.empty(0)
    if not usual.size or usual.min() <= 0:
        return ""  # What is 0 as a rule has no size.
    middle = float(np.median(usual))
    times = float(usual.max()) / middle if evidence.comparison.above else middle / float(usual.min())
    if times < TIMES:
        return ""
    word = "large" if evidence.comparison.above else "small"
    return (
        f"no one number suits its {usual.size} series: one is usually {times:.0f} times as {word} as the "
        "middle one; split the rule, or watch the query, which learns a number for each"
    )
