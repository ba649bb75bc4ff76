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
    """Write a PNG or SVG.

    Raises: SidecarError where matplotlib is not installed, draws no such format, or the file cannot be
    written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SidecarError("drawing needs matplotlib: pip install 'pronoia[plot]'") from error
    window = comparison.before[0].window
    edges = np.arange(window.start_ms, window.end_ms + DAY_MS, DAY_MS)
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    axes.xaxis_date()  # Days since 1970.
    middles = edges[:-1] / DAY_MS + 0.5
    most = 1
    for label, pasts, color, width in (
        ("before", comparison.before, "#d9d9d9", 0.8),
        ("after", comparison.after, "#1f6feb", 0.4),
    ):
        firings = _by_day(pasts, edges)
        axes.bar(middles, firings, color=color, width=width, label=f"{label}: {firings.sum():,}")
        most = max(most, int(firings.max(initial=0)))
    for n, row in enumerate(comparison.incidents):
        at = row.incident.start_ms / DAY_MS
        label = "a known incident" if n == 0 else "_"
        axes.axvline(at, color="#c00000", linewidth=1, linestyle=":", label=label)
    axes.set_xlim(window.start_ms / DAY_MS, window.end_ms / DAY_MS)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0, 1.5 * most)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("UTC")
    axes.set_ylabel("firings in a day, logarithmic")
    figure.legend(loc="outside upper left", ncols=3, frameon=False)
    try:
        save(figure, path)
    except OSError as error:
        raise SidecarError(f"--plot {path}: {error.strerror or error}") from error


def _by_day(pasts: Sequence[RulePast], days: np.ndarray) -> np.ndarray:
    starts = [firing.start_ms for past in pasts for firing in past.firings]
    return np.histogram(starts, bins=days)[0]
