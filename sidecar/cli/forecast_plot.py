"""Forecasts as a picture: the end of the past, what is expected, and its interval."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.cli.picture import name, save
from sidecar.errors import ModelError
from sidecar.series import FloatArray, TimeArray

if TYPE_CHECKING:
    from sidecar.engine.forecast.series import SeriesForecast

MAX_PANELS = 12


@dataclass(frozen=True)
class Panel:
    """One series of the picture."""

    title: str
    timestamps: TimeArray
    values: FloatArray
    forecast: SeriesForecast


def draw(path: Path, panels: list[Panel]) -> None:
    """Draw at most twelve series under each other into a file; its suffix says the format.

    Raises: ModelError where matplotlib is absent or does not know the format; OSError.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ModelError("--plot needs matplotlib: pip install 'pronoia[plot]'") from error
    shown = panels[:MAX_PANELS]
    figure = Figure(figsize=(11, 1.2 + 2.8 * len(shown)), layout="constrained")
    for axes, panel in zip(figure.subplots(len(shown), squeeze=False)[:, 0], shown, strict=True):
        ahead = panel.forecast.timestamps
        # Three times the horizon of past: more would squeeze what is asked for.
        since = int(ahead[0]) - 3 * int(ahead[-1] - ahead[0] + 1)
        recent = panel.timestamps >= min(since, int(panel.timestamps[-min(50, len(panel.timestamps))]))
        times = ahead.astype("datetime64[ms]")
        axes.plot(
            panel.timestamps[recent].astype("datetime64[ms]"), panel.values[recent], lw=0.9, color="#444"
        )
        axes.fill_between(times, panel.forecast.lower, panel.forecast.upper, color="#3b7", alpha=0.25, lw=0)
        axes.plot(times, panel.forecast.yhat, lw=1.4, color="#175")
        name(axes, f"{panel.forecast.level:.0%} interval  {panel.title}")
        axes.grid(alpha=0.3)
    more = f"; {len(shown)} of {len(panels)} series" if len(panels) > len(shown) else ""
    figure.suptitle(f"grey: values; green: forecast and its interval; UTC{more}", fontsize=9)
    save(figure, path)
