"""`pronoia models list|show|validate|retrain|contest|promote|rollback`: the models that judge."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.cli.options import config_option, data_option, format_option, read_config
from sidecar.cli.reach import within_reach
from sidecar.config.fields import format_duration
from sidecar.errors import SidecarError

if TYPE_CHECKING:
    from sidecar.config.model import Config, QueryConfig
    from sidecar.engine.model import QueryModel
    from sidecar.engine.registry_models import Lineage, ModelFiles, Standing
    from sidecar.series import SeriesBatch

LATER = "it takes effect at the next start, or: curl -X POST http://localhost:9469/-/reload"


def _none(files: ModelFiles, of: str = "") -> str:
    return f"no models{of} in {files.directory}; name pronoia's folder with --data, or its file with --config"


@click.command("list")
@config_option
@data_option
@format_option
def list_(config_path: Path | None, data_directory: Path | None, output: str) -> None:
    """Every saved model: what it learnt from, with which configuration and libraries.

    \b
    Example:
      pronoia models list

    Exit codes: 0 there are some, 1 there are none, 2 wrong use.
    """
    _, files = _opened(config_path, data_directory)
    found = files.everything()
    if output == "json":
        click.echo(json.dumps([_plain(one) for one in found]))
    else:
        for one in found:
            click.echo(
                f"{one.query:<24} {one.role:<20} {one.detector:<12} {one.n_series:>7} series "
                f"{one.n_points:>10} points until {_moment(one.learnt_until_ms)}  {one.bytes / 1e6:.1f} MB"
            )
        if not found:
            click.echo(_none(files), err=True)
    raise SystemExit(0 if found else 1)


@click.command()
@click.argument("query")
@config_option
@data_option
@format_option
def show(query: str, config_path: Path | None, data_directory: Path | None, output: str) -> None:
    """The lineage of every saved model of QUERY.

    \b
    Example:
      pronoia models show cdn_error_ratio

    Exit codes: 0 there are some, 1 there are none, 2 wrong use.
    """
    _, files = _opened(config_path, data_directory)
    found = [_plain(one) for one in files.everything() if one.query == query]
    if output == "json":
        click.echo(json.dumps(found))
    else:
        for one in found:
            click.echo("\n".join(f"{name:<18} {value}" for name, value in one.items()) + "\n")
        if not found:
            click.echo(_none(files, f" of {query}"), err=True)
    raise SystemExit(0 if found else 1)


@click.command()
@config_option
@data_option
@format_option
def validate(config_path: Path | None, data_directory: Path | None, output: str) -> None:
    """Whether the live models can be used as the configuration is; those that cannot are learnt anew.

    \b
    Example:
      pronoia models validate --config pronoia.yaml

    Exit codes: 0 all can, 1 one cannot (with the reason) or there are none, 2 wrong use.
    """
    from sidecar.engine.registry_models import refusal

    config, files = _opened(config_path, data_directory)
    found = {
        query.name: refusal(files.live(query.name), query)
        for query in config.queries
        if files.live(query.name).exists()
    }
    if output == "json":
        click.echo(json.dumps(found))
    else:
        for name, reason in found.items():
            click.echo(f"{name}: {reason or 'fine'}")
        if not found:
            click.echo(_none(files, " of a configured query"), err=True)
    raise SystemExit(1 if any(found.values()) or not found else 0)


@click.command()
@click.argument("query")
@config_option
@data_option
def retrain(query: str, config_path: Path | None, data_directory: Path | None) -> None:
    """Learn QUERY anew from Prometheus' history, as a challenger of the live model.

    Nothing changes for the running sidecar. Wait until both have new data, then
    `pronoia models contest`.

    \b
    Example:
      pronoia models retrain cdn_error_ratio --config pronoia.yaml

    Exit codes: 0 there is a challenger, 1 it could not be learnt, 2 wrong use.
    """
    from sidecar.engine.registry_models import lineage, train

    config, files = _opened(config_path, data_directory)
    chosen = _chosen(config, query)
    if not files.live(query).exists():
        click.echo(f"pronoia: {_none(files, f' of {query}')}", err=True)
        raise SystemExit(1)
    try:
        until = lineage(files.live(query)).learnt_until_ms or 0
        history = _read(config, chosen, until - round(chosen.history * 1000), until)
        train(chosen, history, files, partial(_surround, config))
    except (SidecarError, OSError) as error:
        raise _failed(error) from error
    click.echo(f"{query}: a challenger has learnt from {history.n_series} series until {_moment(until)}")


@click.command()
@click.argument("query")
@config_option
@data_option
@format_option
def contest(query: str, config_path: Path | None, data_directory: Path | None, output: str) -> None:
    """Let champion and challenger of QUERY judge what came after the fit, side by side.

    \b
    Example:
      pronoia models contest cdn_error_ratio --config pronoia.yaml

    Exit codes: 0 the challenger is better, 1 it is not, or cannot be compared yet, 2 wrong use.
    """
    better, words, standings = _contested(query, config_path, data_directory)
    _show_standings(better, words, standings, output)


@click.command()
@click.argument("query")
@click.option("--force", is_flag=True, help="Even if it is not better on data seen after the fit.")
@config_option
@data_option
def promote(query: str, force: bool, config_path: Path | None, data_directory: Path | None) -> None:
    """Put the challenger of QUERY in the live model's place, if it is better; that becomes a version.

    \b
    Example:
      pronoia models promote cdn_error_ratio --config pronoia.yaml

    Exit codes: 0 it will be live, 1 it is not better, 2 wrong use.
    """
    _, files = _opened(config_path, data_directory)
    if not force:
        better, words, _ = _contested(query, config_path, data_directory)
        if not better:
            click.echo(f"pronoia: {words}", err=True)
            raise SystemExit(1)
    try:
        files.promote(query)
    except FileNotFoundError:
        raise _no_challenger(query) from None
    click.echo(f"{query}: the challenger is promoted; {LATER}")


@click.command()
@click.argument("query")
@click.option("--to", "version", type=click.IntRange(1), help="This version.  [default: the newest]")
@config_option
@data_option
def rollback(query: str, version: int | None, config_path: Path | None, data_directory: Path | None) -> None:
    """Bring back what was live before a promotion; what it missed is caught up, up to the query's history.

    \b
    Example:
      pronoia models rollback cdn_error_ratio --to 3

    Exit codes: 0 it will be live, 1 there is none, 2 wrong use.
    """
    _, files = _opened(config_path, data_directory)
    versions = files.versions(query)
    wanted = [path for path in versions if version is None or path == files.of_role(query, f"v{version}")]
    if not wanted:
        known = ", ".join(path.name for path in versions) or "none"
        click.echo(f"pronoia: no such version of {query}; there is {known}", err=True)
        raise SystemExit(1)
    files.put_next(query, wanted[-1])
    click.echo(f"{query}: {wanted[-1].name} is back; {LATER}")


def show_trial(query: str, config_path: Path | None, data_directory: Path | None, output: str) -> None:
    """How champion and challenger of a query have done live so far; ends the process with 0 or 1."""
    from sidecar.engine.registry_models import verdict
    from sidecar.engine.trial import LiveContest

    config, files = _opened(config_path, data_directory)
    contest = LiveContest()
    try:
        contest.recall(json.loads(files.trial(query).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not files.of_role(query, "challenger").exists():
            raise _no_challenger(query) from error
        noted = format_duration(config.store.snapshot_interval)
        words = (
            f"a running pronoia puts it on trial at its next step, and writes down every {noted} how it does"
        )
        click.echo(f"pronoia: nothing is known of the challenger of {query} yet; {words}", err=True)
        raise SystemExit(1) from error
    standings = contest.standings()
    _show_standings(*verdict(standings), standings, output)


def _show_standings(better: bool, words: str, standings: dict[str, Standing], output: str) -> None:
    if output == "json":
        rows = {role: _judged_so_far(one) for role, one in standings.items()}
        click.echo(json.dumps({"better": better, "reason": words, **rows}))
    else:
        for role, one in standings.items():
            if not one.n_points:
                click.echo(f"{role:<12} has judged nothing yet that both know")
                continue
            click.echo(
                f"{role:<12} error {one.mean_error:.3f}  outside {one.outside:.2%}  flagged {one.flagged}"
                f"  of {one.n_points} points"
            )
        click.echo(f"the challenger is {'better' if better else 'not better'}: {words}")
    raise SystemExit(0 if better else 1)


def _judged_so_far(one: Standing) -> dict[str, Any]:
    """With null for what nothing is known of: JSON has no NaN."""
    return {key: value if isfinite(value) else None for key, value in asdict(one).items()}


COMMANDS = (list_, show, validate, retrain, contest, promote, rollback)


def _opened(config_path: Path | None, data_directory: Path | None) -> tuple[Config, ModelFiles]:
    from sidecar.engine.registry_models import ModelFiles

    overrides = {"store": {"directory": data_directory}} if data_directory else {}
    config = read_config(config_path, overrides)
    return config, ModelFiles(config.store.directory / "models")


def _chosen(config: Config, name: str) -> QueryConfig:
    for query in config.queries:
        if query.name == name:
            return query
    known = ", ".join(query.name for query in config.queries) or "none; give --config"
    raise click.UsageError(f"no query {name!r}; configured: {known}")


def _contested(
    name: str, config_path: Path | None, data_directory: Path | None
) -> tuple[bool, str, dict[str, Standing]]:
    from sidecar.engine.registry_models import contest as judge
    from sidecar.engine.registry_models import lineage, verdict

    config, files = _opened(config_path, data_directory)
    query = _chosen(config, name)
    champion, challenger = files.of_role(name, "fit"), files.of_role(name, "challenger")
    if not challenger.exists():
        raise _no_challenger(name)
    try:
        # Both have learnt until the same step; what is judged is new to both.
        until = max(lineage(path).learnt_until_ms or 0 for path in (champion, challenger))
        since = _read(config, query, until + round(query.step * 1000), round(time.time() * 1000))
        standings = judge(champion, challenger, query, since)
    except (SidecarError, OSError) as error:
        raise _failed(error) from error
    return *verdict(standings), standings


def _read(config: Config, query: QueryConfig, start_ms: int, end_ms: int) -> SeriesBatch:
    async def ask() -> SeriesBatch:
        async with within_reach(config.prometheus) as client:
            return await client.range(
                query.expr,
                start_ms=start_ms,
                end_ms=end_ms,
                step_ms=round(query.step * 1000),
                name=query.name,
                max_series=4 * (query.max_series or config.prometheus.max_series_per_query),
            )

    return asyncio.run(ask())


def _surround(config: Config, model: QueryModel) -> None:
    """Tell a model what the configuration knows around its series, as the sidecar does."""
    from sidecar.engine.surroundings import Surroundings

    model.known.announce(config.events, config.calendar)
    model.surroundings = Surroundings(model.query, config.business, config.pauses)


def _no_challenger(query: str) -> SystemExit:
    click.echo(f"pronoia: {query} has no challenger; pronoia models retrain {query} learns one", err=True)
    return SystemExit(1)


def _failed(error: Exception) -> SystemExit:
    click.echo(f"pronoia: {error}", err=True)
    return SystemExit(1)


def _plain(one: Lineage) -> dict[str, Any]:
    return {
        **asdict(one),
        "path": str(one.path),
        "learnt_from": _moment(one.learnt_from_ms),
        "learnt_until": _moment(one.learnt_until_ms),
    }


def _moment(ms: int | None) -> str:
    return "never" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
