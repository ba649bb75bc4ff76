"""What `pronoia forecast` is asked beside the rows: thresholds, scenarios, replicas; and its answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from sidecar.config.fields import format_duration
from sidecar.errors import ModelError
from sidecar.series import FloatArray, LabelSet, TimeArray
from sidecar.tables import iso_times

if TYPE_CHECKING:
    from sidecar.config.model import Config
    from sidecar.engine.forecast.crossing import Threshold
    from sidecar.engine.forecast.eta import Crossing
    from sidecar.engine.forecast.scenario import Scenario
    from sidecar.engine.forecast.series import SeriesForecast

RUN_DAYS = 14
"""So far back runs are compared with the one that a series is in."""

ENOUGH_PAST = 2.0
"""With a past as long as the horizon the interval's end is not tested, with twice as much it is."""


@dataclass(frozen=True)
class Source:
    """One series to forecast: where it came from, and its samples."""

    name: str
    timestamps: TimeArray
    values: FloatArray
    step_seconds: float
    labels: LabelSet = field(default_factory=LabelSet)


@dataclass(frozen=True)
class Wanted:
    """What was asked for: `horizon_seconds` or `steps`, `level` in 0..1, bounds."""

    horizon_seconds: float
    steps: int | None
    level: float
    floor: float | None
    ceiling: float | None
    threshold: Threshold | None = None
    probability: float = 0.5
    scenario: Scenario | None = None
    per_replica: float | None = None
    capacity: float | None = None
    config: Config | None = None

    def n_steps(self, step_seconds: float) -> int:
        """The horizon in whole steps of a series, at least one."""
        return self.steps or max(round(self.horizon_seconds / step_seconds), 1)


def with_questions(
    wanted: Wanted,
    threshold: str | None,
    probability: float,
    scenario: str | None,
    per_replica: float | None,
    capacity: float | None,
) -> Wanted:
    """The wish with these questions; wrong ones end the command with their reason."""
    from sidecar.engine.forecast.crossing import Threshold
    from sidecar.engine.forecast.scenario import Scenario

    try:
        return replace(
            wanted,
            threshold=None if threshold is None else Threshold.parse(threshold),
            probability=probability,
            scenario=None if scenario is None else Scenario.parse(scenario),
            per_replica=per_replica,
            capacity=capacity,
        )
    except ModelError as error:
        raise click.UsageError(str(error)) from error


def tell_of_little_history(source: Source, ahead_seconds: float) -> None:
    """Say so where the past is too short for the interval to be more than a guess at the end."""
    seen = source.timestamps[np.isfinite(source.values)]
    if not len(seen):
        return
    known_seconds = float(seen[-1] - seen[0]) / 1000.0 + source.step_seconds
    needed_seconds = ENOUGH_PAST * ahead_seconds
    if known_seconds < needed_seconds:
        click.echo(
            f"{source.name}: {format_duration(known_seconds)} of history is little for "
            f"{format_duration(ahead_seconds)} ahead; from {format_duration(needed_seconds)} on the "
            "interval is tested to its end, until then extrapolated",
            err=True,
        )


def tell_of_scenario(scenario: Scenario, ahead_seconds: float) -> None:
    """Refuse a scenario that begins after what is forecast, and say so where its end lies beyond."""
    ends = scenario.delay_seconds + scenario.duration_seconds
    needed = f"a --horizon of {format_duration(ends)} holds all of it"
    if scenario.delay_seconds >= ahead_seconds:
        raise click.UsageError(
            f"--scenario begins in {format_duration(scenario.delay_seconds)}, "
            f"the forecast ends in {format_duration(ahead_seconds)}; {needed}"
        )
    if ends > ahead_seconds:
        click.echo(f"pronoia: --scenario lasts longer than the forecast; {needed}", err=True)


def answers_of(source: Source, found: SeriesForecast, wanted: Wanted) -> dict[str, Any]:
    """What was asked beside the forecast: when the threshold is crossed, what the peak needs."""
    from sidecar.engine.forecast.crossing import first_step, probabilities
    from sidecar.engine.forecast.scenario import need

    texts = iso_times(found.timestamps)
    answers: dict[str, Any] = {}
    if wanted.threshold is not None:
        chances = probabilities(wanted.threshold, found.yhat, found.lower, found.upper, found.level)
        found_steps = first_step(chances, wanted.probability)
        seconds = math.inf if found_steps is None else (found_steps + 1) * source.step_seconds
        highest = float(chances.max())
        if wanted.scenario is None:
            # What has just begun (a disk that fills) is in no rule of the pool yet.
            by_run = _by_run(source, wanted.threshold, len(found.yhat))
            seconds = min(seconds, by_run.eta_seconds(wanted.probability))
            highest = max(highest, float(by_run.probability.max()))
        last_ms = int(found.timestamps[0]) - round(source.step_seconds * 1000)
        crossed = math.isfinite(seconds)
        answers["crossing"] = {
            "threshold": str(wanted.threshold),
            "probability": wanted.probability,
            "at": iso_times(np.array([last_ms + round(seconds * 1000)]))[0] if crossed else None,
            "in_seconds": seconds if crossed else None,
            "highest_probability": round(highest, 4),
        }
    if not (wanted.scenario is None and wanted.per_replica is None and wanted.capacity is None):
        peak = need(found.yhat, found.upper, wanted.per_replica)
        answers["peak"] = {
            "at": texts[peak.step],
            "yhat": peak.yhat,
            "upper": peak.upper,
            "replicas": peak.replicas,
            "headroom": None if wanted.capacity is None else wanted.capacity - peak.upper,
        }
    return answers


def _by_run(source: Source, threshold: Threshold, n_steps: int) -> Crossing:
    """When the straight run that the series is in crosses the threshold, as far as such runs go on."""
    from sidecar.engine.forecast.eta import crossing
    from sidecar.engine.forecast.past import to_grid

    newest = source.timestamps >= source.timestamps[-1] - RUN_DAYS * 86_400_000
    grid = to_grid(source.timestamps[newest], source.values[newest], source.step_seconds)
    seconds = n_steps * source.step_seconds
    return crossing(grid, source.step_seconds, threshold, horizon_seconds=seconds, ahead=None)


def tell(name: str, answers: dict[str, Any]) -> bool:
    """Say the answers to a person, beside the rows; True where a threshold is crossed."""
    crossing, peak = answers.get("crossing"), answers.get("peak")
    if crossing:
        when = (
            f"not within the horizon (at most {crossing['highest_probability']:.0%})"
            if crossing["at"] is None
            else f"{crossing['at']}, in {format_duration(crossing['in_seconds'])}"
        )
        click.echo(
            f"{name}: {crossing['threshold']} with {crossing['probability']:.0%} probability: {when}",
            err=True,
        )
    if peak:
        needs = "" if peak["replicas"] is None else f", needs {peak['replicas']} replicas"
        room = "" if peak["headroom"] is None else f", headroom {peak['headroom']:g}"
        click.echo(
            f"{name}: peak {peak['yhat']:g} at {peak['at']}, at most {peak['upper']:g}{needs}{room}",
            err=True,
        )
    return bool(crossing and crossing["at"] is not None)
