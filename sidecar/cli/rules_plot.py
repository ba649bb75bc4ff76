"""Firings by day of two rule sets, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sidecar.cli.picture import save
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rules.backtest.compare import Comparison
    from rules.backtest.past import RulePast

DAY_MS = 86_400_000


def draw_days(path: Path, comparison: Comparison) -> None:
    """Write a PNG or SVG. Raises: SidecarError where matplotlib is not installed or draws no such format."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SidecarError("drawing needs matplotlib: pip install 'pronoia[plot]'") from error
    window = comparison.before[0].window
    days = np.arange(window.start_ms, window.end_ms + DAY_MS, DAY_MS)
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    middles = (days[:-1] - days[0]) / DAY_MS + 0.5
    axes.bar(middles, _by_day(comparison.before, days), color="#d9d9d9", label="before")
    axes.bar(middles, _by_day(comparison.after, days), color="#1f6feb", label="after", width=0.4)
    for row in comparison.incidents:
        at = (row.incident.start_ms - days[0]) / DAY_MS
        axes.axvline(at, color="#c00000", linewidth=1, linestyle=":")
    axes.set_yscale("symlog")
    axes.set_xlabel("days; dotted: known incidents")
    axes.set_ylabel("firings")
    axes.legend(loc="lower right")
    save(figure, path)


def _by_day(pasts: Sequence[RulePast], days: np.ndarray) -> np.ndarray:
    starts = [firing.start_ms for past in pasts for firing in past.firings]
    return np.histogram(starts, bins=days)[0]
