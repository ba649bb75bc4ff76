"""`pronoia report risk`: how likely an incident starts on each service soon."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from sidecar.cli.options import config_option, data_option, format_option, read_config
from sidecar.config.fields import format_duration
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from sidecar.engine.risk import Learnt, Risk, Trial


@click.command()
@config_option
@data_option
@format_option
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Services of each window.")
@click.option(
    "--plot",
    "plot",
    type=click.Path(path_type=Path),
    help="Draw what was said beside what came, and how long ahead: a PNG or SVG file.",
)
def risk(
    config_path: Path | None, data_directory: Path | None, output: str, top: int, plot: Path | None
) -> None:
    """Tell how likely an incident starts on a service within 30 min to 3 h, 4 h and 24 h.

    Learnt from the incidents (P0 to P2) and alerts in the database, and from anomalies, changes
    and thresholds ahead once enough incidents happened since these are recorded. The newest third
    is only used to try what the rest taught. A window whose predictions were no better than how
    often incidents happen is not predicted, and with fewer than 40 incidents nothing is.

    Brier score: mean squared error of the probabilities, less is better.

    \b
    Example:
      pronoia report risk --data pronoia-data --plot risk.png

    Exit codes: 0 something is predicted, 1 nothing can be, 2 wrong use.
    """
    from sidecar.cli.stored import with_store
    from sidecar.engine.risk import learn
    from webhooks.risk.past import read_past

    overrides = {"store": {"directory": data_directory}} if data_directory else None
    past = with_store(read_config(config_path, overrides), read_past)
    now = time.time()
    pasts, begin = past.services(), past.begin_seconds
    learnt = learn(
        pasts, begin=now if begin is None else begin, now=now, signals_begin=past.signals_begin_seconds
    )
    risks = learnt.predict(pasts, now)
    if output == "json":
        click.echo(json.dumps(_document(learnt, risks)))
    else:
        _show(learnt, risks, top)
    if plot is not None and learnt.trials:
        from sidecar.cli.report_risk_plot import draw

        try:
            draw(plot, learnt.trials)
        except (SidecarError, OSError) as error:
            click.echo(f"pronoia: {error}", err=True)
            raise SystemExit(1) from error
    if learnt.silent:
        raise SystemExit(1)


def _document(learnt: Learnt, risks: tuple[Risk, ...]) -> dict[str, object]:
    return {
        "silent": learnt.silent,
        "with_signals": learnt.with_signals,
        "trials": [asdict(trial) for trial in learnt.trials],
        "risks": [asdict(one) for one in risks],
    }


def _show(learnt: Learnt, risks: tuple[Risk, ...], top: int) -> None:
    if learnt.silent:
        click.echo(f"no prediction: {learnt.silent}")
    for trial in learnt.trials:
        click.echo(
            f"{trial.window}: Brier {trial.brier:.4f} beside {trial.base_brier:.4f} of the base rate "
            f"{trial.base_rate:.1%}" + ("" if trial.useful else "; not predicted")
        )
        said = ", ".join(f"{p:.1%} said {came:.1%} came" for p, came, _ in trial.calibration)
        click.echo(f"  calibration: {said}")
        click.echo(f"  {_warnings(trial)}")
        for one in [risk for risk in risks if risk.window == trial.window][:top]:
            reasons = ", ".join(f"{name} {share:+.2f}" for name, share in one.reasons)
            click.echo(f"  {one.probability:>6.1%}  {one.service:<30} {reasons}")


def _warnings(trial: Trial) -> str:
    """What warnings would have been worth, in words."""
    if trial.warn_at is None or trial.precision is None:
        return "no probability is high enough to warn at: less than half came true"
    words = (
        f"warning from {trial.warn_at:.0%} on: {trial.n_warned} of {trial.n_incidents} incidents had one, "
        f"{trial.precision:.0%} came true"
    )
    if not trial.leads_seconds:
        return words
    early, middle, late = (
        format_duration(round(lead / 60) * 60) for lead in np.quantile(trial.leads_seconds, (0.1, 0.5, 0.9))
    )
    return f"{words}; {middle} ahead in the median, {early} to {late} for eight in ten"
