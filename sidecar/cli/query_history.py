"""Options that read a query's history from a Prometheus, and the reading."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

from sidecar.cli.options import read_config
from sidecar.cli.reach import within_reach
from sidecar.config.fields import parse_duration
from sidecar.series import SeriesBatch

if TYPE_CHECKING:
    from sidecar.prometheus.client import PrometheusClient

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

DEFAULT_HISTORY = "14d"
DEFAULT_STEP = "5m"


def query_options(command: F) -> F:
    """`--query EXPR --start --end --step --prometheus URL --max-series N`."""
    for option in (
        click.option("--max-series", type=click.IntRange(1), default=1000, show_default=True),
        click.option("--prometheus", "prometheus_url", metavar="URL", help="Where --query is asked."),
        click.option("--step", "query_step", default=DEFAULT_STEP, show_default=True, metavar="DURATION"),
        click.option("--end", metavar="TIME", help="As --start.  [default: now]"),
        click.option(
            "--start",
            default=DEFAULT_HISTORY,
            show_default=True,
            metavar="TIME",
            help="ISO 8601, Unix seconds, or so long before the end (14d).",
        ),
        click.option("--query", "expr", metavar="EXPR", help="PromQL: each series of its answer."),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class QueryHistory:
    """A query over a range of time; times int64 ms."""

    expr: str
    start_ms: int
    end_ms: int
    step_seconds: float
    prometheus_url: str | None
    max_series: int

    @property
    def nothing(self) -> str:
        """What to say when no series came."""
        first, last = (
            datetime.fromtimestamp(at / 1000, UTC).isoformat(" ", "minutes")[:16]
            for at in (self.start_ms, self.end_ms)
        )
        return (
            f"query {self.expr!r} matched no series from {first} to {last} UTC; "
            "is every name in it spelt right, and is there data of that time?"
        )

    @classmethod
    def of(cls, options: dict[str, Any], now: Callable[[], float] = time.time) -> Self | None:
        """From what `query_options` gave; None without --query.

        Raises: click.BadParameter.
        """
        if options["expr"] is None:
            return None
        try:
            step = parse_duration(options["query_step"])
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--step") from error
        if step < 1:
            raise click.BadParameter("a step is at least 1s", param_hint="--step")
        end = now() if options["end"] is None else moment(options["end"], now(), "--end")
        start = moment(options["start"], end, "--start")
        if start >= end:
            raise click.BadParameter("lies after the end", param_hint="--start")
        return cls(
            options["expr"],
            round(start * 1000),
            round(end * 1000),
            step,
            options["prometheus_url"],
            options["max_series"],
        )


def moment(text: str, end: float, option: str) -> float:
    """Unix seconds of a time, or of a duration before the end."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            return end - parse_duration(text)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise click.BadParameter(
                f"{text!r} is neither ISO 8601, nor Unix seconds, nor a duration such as 14d",
                param_hint=option,
            ) from error
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()
    return seconds


def read_query(history: QueryHistory, config_path: Path | None) -> SeriesBatch:
    """The query's series over its range.

    Raises: PullError, TooManySeries.
    """
    return with_prometheus(
        history.prometheus_url,
        config_path,
        lambda client: client.range(
            history.expr,
            start_ms=history.start_ms,
            end_ms=history.end_ms,
            step_ms=round(history.step_seconds * 1000),
            name="command line",
            max_series=history.max_series,
        ),
    )


def with_prometheus(
    url: str | None, config_path: Path | None, ask: Callable[[PrometheusClient], Awaitable[T]]
) -> T:
    """What `ask` gets from the Prometheus at that URL, or of the configuration.

    Raises: PullError.
    """
    config = read_config(config_path, {"prometheus": {"url": url}} if url else {})

    async def work() -> T:
        async with within_reach(config.prometheus) as client:
            return await ask(client)

    return asyncio.run(work())
