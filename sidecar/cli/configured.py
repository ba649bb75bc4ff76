"""A configured query's past, judged with all that its configuration knows around it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from sidecar.cli.options import read_config
from sidecar.cli.query_history import QueryHistory, read_query
from sidecar.cli.score import Scored
from sidecar.config.model import Config, QueryConfig
from sidecar.series import SeriesBatch


def configured(name: str, config_path: Path | None) -> tuple[Config, QueryConfig]:
    """The configuration, and its query of that name.

    Raises: click.BadParameter naming the queries that there are.
    """
    config = read_config(config_path)
    for query in config.queries:
        if query.name == name:
            return config, query
    known = ", ".join(query.name for query in config.queries) or "none; give --config"
    raise click.BadParameter(f"no query {name!r}; configured: {known}", param_hint="--as")


def judge_configured(
    history: QueryHistory, config: Config, query: QueryConfig, config_path: Path | None
) -> tuple[SeriesBatch, list[Scored]]:
    """The query's series over the range, and what the sidecar would have said of each.

    Raises: PullError, TooManySeries.
    """
    from sidecar.engine.model import QueryModel
    from sidecar.engine.surroundings import Surroundings

    batch = read_query(history, config_path)
    model = QueryModel(query.model_copy(update={"forecast_horizons": ()}))
    model.known.announce(config.events, config.calendar)
    model.surroundings = Surroundings(query, config.business, config.pauses)
    if query.traffic is not None:
        traffic = read_query(replace(history, expr=query.traffic.expr), config_path)
        model.surroundings.observe_traffic(traffic)
    if config.business.deployments is not None:
        deployments = read_query(replace(history, expr=config.business.deployments.expr), config_path)
        model.surroundings.observe_deployments(deployments)
    aligned, band, score = model.score(batch)
    found = [
        Scored(aligned.timestamps, aligned.values[row], *arrays)
        for row, arrays in enumerate(
            zip(band.yhat, band.lower, band.upper, score.anomaly_score, score.shape, strict=True)
        )
    ]
    return aligned, found
