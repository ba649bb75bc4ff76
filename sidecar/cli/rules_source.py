"""Which rules, on which past, measured by which incidents: options that the rule commands share."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import click

from sidecar.cli.left_alone import in_thread
from sidecar.cli.options import data_option, read_config
from sidecar.cli.query_history import moment
from sidecar.cli.stored import opened_store
from sidecar.config.fields import parse_duration
from sidecar.config.model import Config

if TYPE_CHECKING:
    from rules.backtest.past import BackTester, Window
    from rules.incidents import KnownIncident
    from rules.read import WrittenRule
    from sidecar.prometheus.client import PrometheusClient

F = TypeVar("F", bound=Callable[..., Any])


def rule_source_options(command: F) -> F:
    """`--rules PATH … --incidents FILE --prometheus URL --start --end --step --data DIR`."""
    for option in (
        data_option,
        click.option("--step", "step_text", default="1m", show_default=True, help="Interval of evaluation."),
        click.option("--end", metavar="TIME", help="As --start.  [default: now]"),
        click.option(
            "--start",
            default="28d",
            show_default=True,
            metavar="TIME",
            help="ISO 8601, Unix seconds, or so long before the end.",
        ),
        click.option("--prometheus", "prometheus_url", metavar="URL", help="Whose past it is."),
        click.option(
            "--incidents",
            "incidents_file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="YAML list of name, start, end, alerts, match.  [default: those that pronoia stored]",
        ),
        click.option(
            "--rules",
            "rule_paths",
            multiple=True,
            type=click.Path(path_type=Path, exists=True),
            help="Rule file, folder of such, or PrometheusRule objects.  [default: what is loaded]",
        ),
    ):
        command = option(command)
    return command


def in_a_folder(_: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """The picture's path as it was given, so that nobody waits for minutes to hear that it has no place.

    Raises: click.BadParameter.
    """
    if path is not None and not path.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {path.parent}", param=option)
    return path


@dataclass(frozen=True)
class OpenedSource:
    """A source that answers: its rules, their past's window, the incidents known in it.

    `named`: the rules are those of `--rules`, not what is loaded.
    """

    config: Config
    client: PrometheusClient
    tester: BackTester
    rules: list[WrittenRule]
    incidents: list[KnownIncident]
    window: Window
    knows_keep_firing: bool
    named: bool

    def with_alerts(self) -> Self:
        """Itself.

        Raises: click.UsageError where there is no alerting rule, so nothing to adapt or to back-test.
        """
        if any(rule.alerting for rule in self.rules):
            return self
        where = "the files of --rules have" if self.named else "this Prometheus has"
        raise click.UsageError(
            f"{where} no alerting rule; name rule files with --rules, or try `pronoia rules replay --example`"
        )


@dataclass(frozen=True)
class RuleSource:
    """What the options say."""

    config: Config
    rule_paths: tuple[Path, ...]
    incidents_file: Path | None
    start: str
    end: str | None
    step_ms: int
    example: bool

    @classmethod
    def of(cls, options: dict[str, Any], config_path: Path | None, *, example: bool = False) -> Self:
        """From what `rule_source_options` gave.

        Raises: click.BadParameter.
        """
        given = {
            "prometheus": {"url": options["prometheus_url"]},
            "store": {"directory": options["data_directory"]},
        }
        overrides = {section: keys for section, keys in given.items() if None not in keys.values()}
        config = read_config(config_path, overrides)
        try:
            step = parse_duration(options["step_text"])
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--step") from error
        if step < 1:
            raise click.BadParameter("a step is at least 1s", param_hint="--step")
        return cls(
            config,
            options["rule_paths"],
            options["incidents_file"],
            options["start"],
            options["end"],
            round(step * 1000),
            example,
        )

    @asynccontextmanager
    async def opened(self, *, at_once: int = 2) -> AsyncIterator[OpenedSource]:
        """The source, for as long as the block lasts.

        Raises: PullError, RuleError, SidecarError of the example's servers.
        """
        if not self.example:
            async with self._connected(self.config) as source:
                yield source
            return
        from sidecar.cli.rules_example import RULES, make_history
        from sidecar.cli.rules_temporary import temporary_prometheus

        history = await in_thread(make_history, step_seconds=self.step_ms / 1000)
        async with temporary_prometheus(history.openmetrics()) as url:
            config = self.config.model_copy(
                update={"prometheus": self.config.prometheus.model_copy(update={"url": url})}
            )
            whole = replace(
                self, rule_paths=(RULES,), start=str(history.times[0]), end=str(history.times[-1])
            )
            async with whole._connected(config) as source:
                yield replace(source, incidents=list(history.incidents))

    @asynccontextmanager
    async def _connected(self, config: Config) -> AsyncIterator[OpenedSource]:
        from prometheus_client import CollectorRegistry

        from rules.adapt.history import knows_keep_firing
        from rules.backtest.past import BackTester, Window, forget_old
        from rules.backtest.reach import within_reach
        from rules.backtest.unscraped import Unscraped
        from rules.read import of_server, read_files
        from sidecar.prometheus.client import PrometheusClient
        from sidecar.prometheus.session import PullMetrics

        end = time.time() if self.end is None else moment(self.end, time.time(), "--end")
        start = moment(self.start, end, "--start")
        if start >= end:
            raise click.BadParameter("lies after the end", param_hint="--start")
        if start >= time.time():
            raise click.BadParameter("lies in the future", param_hint="--start")
        step = self.step_ms
        window = Window(round(start * 1000) // step * step, round(end * 1000) // step * step, step)
        if window.n_steps < 3:
            words = f"hardly one step of {step // 1000} s before the end; begin earlier, or give --step"
            raise click.BadParameter(words, param_hint="--start")
        async with PrometheusClient(config.prometheus, metrics=PullMetrics(CollectorRegistry())) as client:
            rules = read_files(self.rule_paths) if self.rule_paths else of_server(await client.rules())
            if self.rule_paths and not rules:
                raise click.UsageError(
                    "the files of --rules have no rule; name rule files, or folders of *.yml or *.yaml"
                )
            memory = config.store.directory / "backtests" / _short(config.prometheus.url)
            forget_old(memory, time.time())
            yield OpenedSource(
                config,
                client,
                BackTester(Unscraped(client), memory=None if self.example else memory),
                rules,
                await self._incidents(config),
                await within_reach(client, window),
                knows_keep_firing((await client.build_info()).version),
                bool(self.rule_paths),
            )

    async def _incidents(self, config: Config) -> list[KnownIncident]:
        from rules.incidents import read_incidents, remembered_incidents
        from sidecar.store.connection import FILE

        if self.incidents_file is not None:
            return read_incidents(self.incidents_file)
        if self.example or not (config.store.directory / FILE).exists():
            return []
        async with opened_store(config) as store:
            return await remembered_incidents(store, time.time())


def _short(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]
