"""`pronoia forecast`: what comes next, of files, of directories of files, or of a query."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from sidecar.cli.forecast_known import known_of, with_known
from sidecar.cli.forecast_questions import (
    Source,
    Wanted,
    answers_of,
    tell,
    tell_of_little_history,
    tell_of_scenario,
    with_questions,
)
from sidecar.cli.options import config_option, format_option, read_config, series_option
from sidecar.cli.query_history import QueryHistory, query_options, read_query
from sidecar.config.fields import format_duration, parse_duration
from sidecar.errors import ModelError, SidecarError, TableError
from sidecar.tables import is_same_file, iso_times, read_table, table_pieces, write_table

if TYPE_CHECKING:
    from sidecar.engine.forecast.series import SeriesForecast

STDOUT = Path("-")
MAX_STEPS = 100_000


class Duration(click.ParamType[float]):
    """A Prometheus duration, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds, more than none."""
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if seconds <= 0:
            self.fail(f"{value!r} is no time ahead; write 1h, 24h or 7d", param, ctx)
        return seconds


@click.command()
@series_option
@query_options
@click.option("--horizon", type=Duration(), default="24h", show_default=True, help="How far ahead.")
@click.option("--steps", type=click.IntRange(1, MAX_STEPS), help="How far ahead, in steps of the series.")
@click.option(
    "--level",
    type=click.FloatRange(1, 99.9),
    default=95,
    show_default=True,
    help="Percent of future values that the interval is to hold.",
)
@click.option("--min", "floor", type=float, help="The series cannot be below this.")
@click.option("--max", "ceiling", type=float, help="The series cannot be above this.")
@click.option("--threshold", metavar="'> N'", help="Say when this is crossed; exit code 1 if it is.")
@click.option(
    "--probability",
    type=click.FloatRange(1, 99.9),
    default=50,
    show_default=True,
    help="Percent of probability at which --threshold counts as crossed.",
)
@click.option("--scenario", metavar="'3.5x for 8h in 2h'", help="What if it were so many times as much.")
@click.option(
    "--per-replica",
    type=click.FloatRange(0, min_open=True),
    help="What one replica can bear: say how many the peak needs.",
)
@click.option("--capacity", type=float, help="What there is: say what the peak leaves of it.")
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path),
    default=STDOUT,
    help="CSV file to write; a directory where --in is one.  [default: standard output]",
)
@click.option("--plot", "plot", type=click.Path(path_type=Path), help="Also draw it: a PNG or SVG file.")
@config_option
@format_option
def forecast(
    source: Path | None,
    horizon: float,
    steps: int | None,
    level: float,
    floor: float | None,
    ceiling: float | None,
    threshold: str | None,
    probability: float,
    scenario: str | None,
    per_replica: float | None,
    capacity: float | None,
    target: Path,
    plot: Path | None,
    config_path: Path | None,
    output: str,
    **query: Any,
) -> None:
    """Forecast series, with an interval that holds what it claims.

    Some eighty cheap rules (last value, means, yesterday, last week, smoothing,
    linear models) are tried from about a hundred past moments of the very series;
    at each lead time those that were right then make the forecast, and their
    errors there make the interval. There is nothing to tune.

    With --config, the events and holidays that it names count: see docs/forecasting.md.

    The step is that of the series. A day of history gives something, two weeks
    give daily and weekly shapes. Rows written: timestamp,yhat,yhat_lower,yhat_upper.

    \b
    Examples:
      pronoia forecast --in cpu.csv --horizon 24h --out next.csv --plot next.png
      pronoia forecast --in history/ --out forecasts/           one process, all files
      pronoia forecast --query 'sum(rate(http_requests_total[5m]))' --start 14d --step 5m
      pronoia forecast --in disk.csv --horizon 7d --max 100 --threshold '> 90' --probability 20
      pronoia forecast --in rps.csv --scenario '3.5x for 8h in 2h' --per-replica 250

    Exit codes: 0 all forecast, 1 a series could not be or --threshold is crossed, 2 wrong use.
    """
    wanted = Wanted(horizon, steps, level / 100.0, floor, ceiling)
    if any(question is not None for question in (threshold, scenario, per_replica, capacity)):
        wanted = with_questions(wanted, threshold, probability / 100.0, scenario, per_replica, capacity)
    if config_path is not None:
        wanted = replace(wanted, config=read_config(config_path))
    history = QueryHistory.of(query)
    if (source is None) == (history is None):
        raise click.UsageError("give either --in FILE|DIRECTORY or --query EXPR")
    if floor is not None and ceiling is not None and floor >= ceiling:
        raise click.UsageError(f"--min {floor:g} is not below --max {ceiling:g}")
    if history is not None:
        _forecast_query(history, config_path, wanted, target, plot, output)
    elif source is not None and source.is_dir():
        _forecast_directory(source, wanted, target, plot, output)
    elif source is not None:
        _forecast_file(source, wanted, target, plot, output)


def _run(source: Source, wanted: Wanted) -> SeriesForecast:
    from sidecar.engine.forecast.series import forecast_series

    n_steps = wanted.n_steps(source.step_seconds)
    if n_steps > MAX_STEPS:
        raise ModelError(
            f"{n_steps} steps of {format_duration(source.step_seconds)} are too many, {MAX_STEPS} the most; "
            "use a shorter --horizon or a series with a longer step"
        )
    tell_of_little_history(source, n_steps * source.step_seconds)
    if wanted.scenario is not None:
        tell_of_scenario(wanted.scenario, n_steps * source.step_seconds)
    known = None if wanted.config is None else known_of(source, wanted.config)
    if known is not None:
        source = replace(source, values=known.without_events(source.timestamps, source.values))
    found = forecast_series(
        source.timestamps,
        source.values,
        step_seconds=source.step_seconds,
        horizon_steps=n_steps,
        level=wanted.level,
        floor=wanted.floor,
        ceiling=wanted.ceiling,
    )
    if known is not None:
        found = with_known(found, source, known)
    if wanted.scenario is None:
        return found
    last_ms = int(found.timestamps[0]) - round(source.step_seconds * 1000)
    yhat, lower, upper = wanted.scenario.apply(
        found.timestamps, last_ms, found.yhat, found.lower, found.upper
    )
    return replace(found, yhat=yhat, lower=np.minimum(lower, yhat), upper=np.maximum(upper, yhat))


def _read(path: Path) -> Source:
    table = read_table(path)
    for problem in table.problems:
        click.echo(f"pronoia: {path}:{problem.row}: {problem.reason}", err=True)
    kept = table.in_order
    return Source(path.stem, table.timestamps[kept], table.values[kept], table.step_seconds)


def _columns(found: SeriesForecast) -> dict[str, Any]:
    return {
        "timestamp": iso_times(found.timestamps),
        "yhat": found.yhat,
        "yhat_lower": found.lower,
        "yhat_upper": found.upper,
    }


def _summary(name: str, source: Source, found: SeriesForecast) -> dict[str, Any]:
    """What a program wants to know of a forecast, without its rows."""
    return {
        "series": name,
        "kind": found.kind,
        "mean_per_step": found.mean,
        "step_seconds": source.step_seconds,
        "steps": len(found.yhat),
        "level": found.level,
        "rules": {rule: round(weight, 3) for rule, weight in found.rules.items() if weight >= 0.01},
    }


def _rows(found: SeriesForecast) -> list[dict[str, Any]]:
    texts = _columns(found)["timestamp"]
    return [
        {"timestamp": t, "yhat": y, "yhat_lower": low, "yhat_upper": high}
        for t, y, low, high in zip(
            texts, found.yhat.tolist(), found.lower.tolist(), found.upper.tolist(), strict=True
        )
    ]


def _refuse(error: object) -> None:
    click.echo(f"pronoia: {error}", err=True)


def _forecast_file(path: Path, wanted: Wanted, target: Path, plot: Path | None, output: str) -> None:
    if target.is_dir():
        raise click.UsageError(f"--out {target} is a directory while --in {path} is a file; name a file")
    if is_same_file(path, target):
        raise click.UsageError(f"--out {target} is the file that --in reads; name another")
    try:
        source = _read(path)
        try:
            found = _run(source, wanted)
        except SidecarError as error:
            raise TableError(path, None, str(error)) from error
        if target != STDOUT:
            write_table(target, _columns(found))
        _draw(plot, [(source, found)])
    except (SidecarError, OSError) as error:
        _refuse(error)
        raise SystemExit(1) from error
    answers = answers_of(source, found, wanted)
    if output == "json":
        body = _summary(str(path), source, found) | answers
        body |= {"forecast": _rows(found)} if target == STDOUT else {"out": str(target)}
        click.echo(json.dumps(body))
    elif target == STDOUT:
        click.echo("".join(table_pieces(_columns(found))), nl=False)
    if tell(str(path), answers):
        raise SystemExit(1)


def _forecast_directory(folder: Path, wanted: Wanted, target: Path, plot: Path | None, output: str) -> None:
    if target == STDOUT or target.is_file():
        raise click.UsageError(f"--in {folder} is a directory: give --out DIRECTORY for the forecasts")
    if is_same_file(folder, target):
        raise click.UsageError(f"--out {target} is the directory that --in reads; name another")
    if plot is not None:
        raise click.UsageError("--plot draws one series; give a file to --in")
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        _refuse(f"{folder}: holds no *.csv file")
        raise SystemExit(1)
    target.mkdir(parents=True, exist_ok=True)
    done: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    crossed = False
    with _progress(paths) as each:
        for path in each:
            try:
                source = _read(path)
                found = _run(source, wanted)
                write_table(target / path.name, _columns(found))
            except (SidecarError, OSError) as error:
                reason = str(error) if str(path) in str(error) else f"{path}: {error}"
                failed.append({"series": str(path), "reason": reason})
                _refuse(reason)
                continue
            answers = answers_of(source, found, wanted)
            crossed |= tell(str(path), answers)
            done.append(_summary(str(path), source, found) | {"out": str(target / path.name)} | answers)
    if output == "json":
        click.echo(json.dumps({"forecasts": done, "failed": failed}))
    else:
        click.echo(f"{len(done)} of {len(paths)} series forecast, in {target}", err=True)
    if failed or crossed:
        raise SystemExit(1)


@contextmanager
def _progress(paths: list[Path]) -> Iterator[Any]:
    """The paths one after another, with a bar where a person looks on."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield track(paths, "forecasting", console=console, disable=not console.is_terminal)


def _forecast_query(
    history: QueryHistory,
    config_path: Path | None,
    wanted: Wanted,
    target: Path,
    plot: Path | None,
    output: str,
) -> None:
    if target.is_dir():
        raise click.UsageError("--query writes one file with a column `series`; name a file with --out")
    try:
        batch = read_query(history, config_path)
    except SidecarError as error:
        _refuse(error)
        raise SystemExit(1) from error
    if not batch.n_series:
        _refuse(history.nothing)
        raise SystemExit(1)
    names: list[str] = []
    found: list[tuple[Source, SeriesForecast]] = []
    failed: list[dict[str, str]] = []
    for labels, values in zip(batch.labels, batch.values, strict=True):
        source = Source(labels.selector(), batch.timestamps, values, history.step_seconds, labels)
        try:
            found.append((source, _run(source, wanted)))
        except SidecarError as error:
            failed.append({"series": source.name, "reason": str(error)})
            _refuse(f"{source.name}: {error}")
    columns: dict[str, Any] = {"series": [], "timestamp": []}
    for source, one in found:
        quoted = '"' + source.name.replace('"', '""') + '"'
        names.extend([quoted] * len(one.yhat))
        columns["timestamp"].extend(iso_times(one.timestamps))
    columns["series"] = names
    for name, attribute in (("yhat", "yhat"), ("yhat_lower", "lower"), ("yhat_upper", "upper")):
        parts = [getattr(one, attribute) for _, one in found]
        columns[name] = np.concatenate(parts) if parts else np.empty(0)
    try:
        if target != STDOUT:
            write_table(target, columns)
        _draw(plot, found)
    except (SidecarError, OSError) as error:
        _refuse(error)
        raise SystemExit(1) from error
    answers = [answers_of(source, one, wanted) for source, one in found]
    crossed = [tell(source.name, answer) for (source, _), answer in zip(found, answers, strict=True)]
    if output == "json":
        done = [
            _summary(source.name, source, one)
            | answer
            | ({"forecast": _rows(one)} if target == STDOUT else {})
            for (source, one), answer in zip(found, answers, strict=True)
        ]
        click.echo(json.dumps({"forecasts": done, "failed": failed}))
    elif target == STDOUT and found:
        for piece in table_pieces(columns):
            click.echo(piece, nl=False)
    if failed or any(crossed):
        raise SystemExit(1)


def _draw(plot: Path | None, found: list[tuple[Source, SeriesForecast]]) -> None:
    if plot is None or not found:
        return
    from sidecar.cli.forecast_plot import Panel, draw

    draw(plot, [Panel(s.name, s.timestamps, s.values, f) for s, f in found])
