"""A back-test as a picture: values, the band as it stood before each, and what was flagged."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sidecar.cli.picture import name, save
from sidecar.cli.score import Scored
from sidecar.errors import ModelError

MAX_PANELS = 12


def draw(path: Path, found: list[tuple[str, Scored]]) -> None:
    """Draw the (at most twelve) series with the highest scores into a file; its suffix says the format.

    Raises: ModelError where matplotlib is absent or does not know the format; OSError.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ModelError("--plot needs matplotlib: pip install 'pronoia[plot]'") from error
    worst = sorted(found, key=lambda one: -float(np.nan_to_num(one[1].score).max(initial=0.0)))[:MAX_PANELS]
    figure = Figure(figsize=(11, 1.2 + 2.8 * max(len(worst), 1)), layout="constrained")
    for axes, (title, one) in zip(
        figure.subplots(max(len(worst), 1), squeeze=False)[:, 0], worst, strict=False
    ):
        times = one.timestamps.astype("datetime64[ms]")
        axes.fill_between(times, one.lower, one.upper, color="#39c", alpha=0.25, lw=0)
        axes.plot(times, one.values, lw=0.8, color="#444")
        flagged = np.nan_to_num(one.score) > 1
        axes.plot(times[flagged], one.values[flagged], "o", ms=3, color="#d33")
        name(axes, title)
        axes.grid(alpha=0.3)
        # One wild bound must not flatten the picture.
        seen = one.values[np.isfinite(one.values)]
        if len(seen):
            margin = 0.3 * float(np.ptp(seen)) or 1.0
            axes.set_ylim(float(seen.min()) - margin, float(seen.max()) + margin)
    shown = f"; the {len(worst)} worst of {len(found)} series" if len(found) > len(worst) else ""
    figure.suptitle(
        f"grey: values; blue: what was expected before each; red: flagged; UTC{shown}", fontsize=9
    )
    save(figure, path)
