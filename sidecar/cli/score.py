"""`pronoia score`: what would have been flagged, in files, directories of files, or a query's history."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from sidecar.cli.options import config_option, format_option, series_option
from sidecar.cli.query_history import QueryHistory, query_options, read_query
from sidecar.errors import SidecarError
from sidecar.series import SHAPES, BoolArray, FloatArray, TimeArray
from sidecar.tables import is_same_file, iso_times, read_table, table_pieces, write_table

STDOUT = Path("-")


@dataclass(frozen=True)
class Judging:
    """How to judge: budget of false alarms a month (None: usual), direction, bounds."""

    false_alarms: float | None
    direction: str
    floor: float | None
    ceiling: float | None


@dataclass(frozen=True)
class Scored:
    """Rows of one series and what is said of them; all arrays (T,), rows set aside have NaN and shape 0."""

    timestamps: TimeArray
    values: FloatArray
    yhat: FloatArray
    lower: FloatArray
    upper: FloatArray
    score: FloatArray
    shape: NDArray[np.int8]

    @property
    def flagged(self) -> BoolArray:
        """Rows whose score is above 1."""
        return np.asarray(np.nan_to_num(self.score) > 1)

    def reasons(self) -> list[str]:
        """Why each row is flagged: its value is `outside` of the band, or one of `SHAPES`, or both."""
        with np.errstate(invalid="ignore"):
            outside = self.flagged & ((self.values < self.lower) | (self.values > self.upper))
        found = ["outside" if is_outside else "" for is_outside in outside.tolist()]
        for at in np.flatnonzero(self.flagged & (self.shape != 0)).tolist():
            found[at] = "+".join(filter(None, (found[at], SHAPES[int(self.shape[at])])))
        return found

    def columns(self) -> dict[str, Any]:
        """The columns of the output, by name."""
        return {
            "timestamp": iso_times(self.timestamps),
            "value": self.values,
            "yhat": self.yhat,
            "yhat_lower": self.lower,
            "yhat_upper": self.upper,
            "anomaly_score": self.score,
            "reason": self.reasons(),
        }

    def summary(self, name: str) -> dict[str, Any]:
        """Counts, and the runs of flagged rows, for people and programs."""
        flagged, reasons = self.flagged, self.reasons()
        edges = np.diff(np.concatenate([[0], flagged.astype(np.int8), [0]]))
        starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        times = iso_times(self.timestamps)
        return {
            "series": name,
            "rows": len(self.score),
            "scored": int(np.isfinite(self.score).sum()),
            "flagged": int(flagged.sum()),
            "events": [
                {
                    "from": times[first],
                    "to": times[end - 1],
                    "rows": int(end - first),
                    "max_score": round(float(self.score[first:end].max()), 3),
                    "reasons": sorted({one for text in reasons[first:end] for one in text.split("+")}),
                }
                for first, end in zip(starts.tolist(), ends.tolist(), strict=True)
            ],
        }


@click.command()
@series_option
@query_options
@click.option(
    "--false-alarms",
    type=click.FloatRange(min=0, min_open=True),
    help="Flags that you accept a series and 30 days.  [default: by step, 8 at 1m, 0.7 at 1h]",
)
@click.option("--direction", type=click.Choice(["both", "above", "below"]), default="both", show_default=True)
@click.option("--min", "floor", type=float, help="The series cannot be below this (0 for a ratio).")
@click.option("--max", "ceiling", type=float, help="The series cannot be above this (1 for a ratio).")
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path),
    default=STDOUT,
    help="CSV file to write; a directory where --in is one, or with --query.  [default: standard output]",
)
@config_option
@format_option
def score(
    source: Path | None,
    false_alarms: float | None,
    direction: str,
    floor: float | None,
    ceiling: float | None,
    target: Path,
    config_path: Path | None,
    output: str,
    **query: Any,
) -> None:
    """Score each row from the rows up to and including itself, as the sidecar would have done live.

    A score above 1 is anomalous: the value lies outside the band yhat_lower to
    yhat_upper, or the course of the series is (reason: outside, drifts_up,
    drifts_down, stands_still). The first 20 rows teach and have no score. Nothing
    after a row changes its score. Rows written, one for each row read:
    timestamp,value,yhat,yhat_lower,yhat_upper,anomaly_score,reason.

    \b
    Examples:
      pronoia score --in cpu.csv --out scored.csv
      pronoia score --in history/ --out scored/            one process, all files
      pronoia score --in errors.csv --direction above --false-alarms 1
      pronoia score --query 'sum by (job) (rate(http_requests_total[5m]))' --start 14d --out scored/

    Exit codes: 0 all scored, 1 a series could not be, 2 wrong use.
    """
    judging = Judging(false_alarms, direction, floor, ceiling)
    history = QueryHistory.of(query)
    if (source is None) == (history is None):
        raise click.UsageError("give either --in FILE|DIRECTORY or --query EXPR")
    if floor is not None and ceiling is not None and floor >= ceiling:
        raise click.UsageError(f"--min {floor:g} is not below --max {ceiling:g}")
    if history is not None:
        _score_query(history, config_path, judging, target, output)
    elif source is not None and source.is_dir():
        _score_directory(source, judging, target, output)
    elif source is not None:
        _score_file(source, judging, target, output)


def judge(timestamps: TimeArray, values: FloatArray, in_order: BoolArray, judging: Judging) -> Scored:
    """Score the rows that came in order; the others get none."""
    from sidecar.engine.offline import score_series

    expectation, found = score_series(
        timestamps[in_order],
        values[in_order],
        false_alarms_per_month=judging.false_alarms,
        direction=judging.direction,
        lower_bound=judging.floor,
        upper_bound=judging.ceiling,
    )
    parts = (expectation.yhat, expectation.lower, expectation.upper, found.anomaly_score)
    yhat, lower, upper, score = (np.full(len(timestamps), np.nan) for _ in parts)
    for column, part in zip((yhat, lower, upper, score), parts, strict=True):
        column[in_order] = part[0]
    shape = np.zeros(len(timestamps), dtype=np.int8)
    shape[in_order] = found.shape[0]
    return Scored(timestamps, values, yhat, lower, upper, score, shape)


def _score_table(path: Path, judging: Judging) -> Scored:
    table = read_table(path)
    for problem in table.problems:
        click.echo(f"pronoia: {path}:{problem.row}: {problem.reason}", err=True)
    return judge(table.timestamps, table.values, table.in_order, judging)


def _score_file(path: Path, judging: Judging, target: Path, output: str) -> None:
    if target.is_dir():
        raise click.UsageError(f"--out {target} is a directory while --in {path} is a file; name a file")
    if is_same_file(path, target):
        raise click.UsageError(f"--out {target} is the file that --in reads; name another")
    try:
        found = _score_table(path, judging)
        if target != STDOUT:
            write_table(target, found.columns())
    except (SidecarError, OSError) as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    if output == "json":
        click.echo(json.dumps(found.summary(str(path))))
    elif target == STDOUT:
        for piece in table_pieces(found.columns()):
            click.echo(piece, nl=False)


def _score_directory(folder: Path, judging: Judging, target: Path, output: str) -> None:
    from rich.progress import track

    if target == STDOUT or target.is_file():
        raise click.UsageError(f"--in {folder} is a directory: give --out DIRECTORY for the scores")
    if is_same_file(folder, target):
        raise click.UsageError(f"--out {target} is the directory that --in reads; name another")
    # What an earlier run wrote below the folder is no series of it.
    own = target.resolve()
    paths = sorted(path for path in folder.rglob("*.csv") if own not in path.resolve().parents)
    if not paths:
        click.echo(f"pronoia: {folder}: holds no *.csv file", err=True)
        raise SystemExit(1)
    done: list[dict[str, Any]] = []
    failed = 0
    for path in track(paths, description="scoring", console=_stderr(), transient=True):
        place = target / path.relative_to(folder)
        try:
            found = _score_table(path, judging)
            place.parent.mkdir(parents=True, exist_ok=True)
            write_table(place, found.columns())
        except (SidecarError, OSError) as error:
            failed += 1
            click.echo(f"pronoia: {error}", err=True)
            continue
        done.append(found.summary(str(path)))
    _report(done, failed, output)


def _score_query(
    history: QueryHistory, config_path: Path | None, judging: Judging, target: Path, output: str
) -> None:
    if target != STDOUT and target.is_file():
        raise click.UsageError(f"--out {target} is a file; --query gives several series, name a directory")
    try:
        batch = read_query(history, config_path)
        if not batch.n_series:
            click.echo(f"pronoia: {history.nothing}", err=True)
            raise SystemExit(1)
        done = []
        everything = np.ones(batch.n_steps, dtype=np.bool_)
        for at, label_set in enumerate(batch.labels):
            found = judge(batch.timestamps, batch.values[at], everything, judging)
            summary = found.summary(label_set.selector())
            if target != STDOUT:
                target.mkdir(parents=True, exist_ok=True)
                write_table(target / f"{at:04d}.csv", found.columns())
                summary["out"] = str(target / f"{at:04d}.csv")
            done.append(summary)
    except (SidecarError, OSError) as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    _report(done, 0, output)


def _report(done: list[dict[str, Any]], failed: int, output: str) -> None:
    if output == "json":
        click.echo(json.dumps(done))
    else:
        for summary in done:
            worst = max((event["max_score"] for event in summary["events"]), default=0.0)
            click.echo(
                f"{summary['series']}: {len(summary['events'])} events in {summary['rows']} rows"
                + (f", worst score {worst:g}" if worst else "")
                + (f" ({summary['out']})" if "out" in summary else "")
            )
    if failed:
        raise SystemExit(1)


def _stderr() -> Any:
    from rich.console import Console

    return Console(stderr=True)
