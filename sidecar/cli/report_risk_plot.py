"""Predicted incidents as a picture: what was said beside what came, and how long ahead warnings came."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sidecar.cli.picture import save
from sidecar.errors import ModelError

if TYPE_CHECKING:
    from sidecar.engine.risk import Trial


def draw(path: Path, trials: Sequence[Trial]) -> None:
    """Draw both for each window into a file; its suffix says the format.

    Raises: ModelError where matplotlib is absent or does not know the format; OSError.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ModelError("--plot needs matplotlib: pip install 'pronoia[plot]'") from error
    figure = Figure(figsize=(4 * len(trials), 7), layout="constrained")
    for (calibration, leads), trial in zip(
        figure.subplots(2, len(trials), squeeze=False).T, trials, strict=True
    ):
        said, came, _ = zip(*trial.calibration, strict=True)
        top = max(*said, *came, 1e-3) * 1.05
        calibration.plot([0, top], [0, top], lw=0.8, color="#999")
        calibration.plot(said, came, marker="o", color="#175")
        calibration.axhline(trial.base_rate, lw=0.8, ls=":", color="#c33")
        calibration.set(xlabel="said", ylabel="came", xlim=(0, top), ylim=(0, top))
        calibration.set_title(
            f"{trial.window}: Brier {trial.brier:.4f}, base rate's {trial.base_brier:.4f}"
            + ("" if trial.useful else "; not told"),
            fontsize=9,
        )
        if trial.leads_seconds:
            leads.hist([lead / 3600.0 for lead in trial.leads_seconds], bins=12, color="#3b7")
        leads.set(xlabel="hours from warning to incident", ylabel="incidents")
        leads.set_title(f"{trial.n_warned} of {trial.n_incidents} warned of", fontsize=9)
        for axes in (calibration, leads):
            axes.grid(alpha=0.3)
    save(figure, path)
