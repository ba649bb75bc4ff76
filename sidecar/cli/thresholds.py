"""`pronoia thresholds`: warnings ahead of alert rules, tried on the past before they are published."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.cli.forecast import Duration
from sidecar.cli.left_alone import in_thread
from sidecar.cli.options import config_option, data_option, format_option, read_config
from sidecar.cli.reach import within_reach
from sidecar.cli.stored import opened_store
from sidecar.config.fields import format_duration
from sidecar.errors import SidecarError
from sidecar.store.connection import FILE

if TYPE_CHECKING:
    from sidecar.config.capacity import CapacityConfig
    from sidecar.config.model import Config
    from sidecar.loop.forecast_trials import Terms, Trial
    from sidecar.prometheus.answers import Rule
    from sidecar.prometheus.client import PrometheusClient

KEEP_FIRING_SECONDS = 1800.0


@click.group()
def thresholds() -> None:
    """Warnings before alert rules fire: when their thresholds will be crossed."""


@thresholds.command()
@click.option("--prometheus", "prometheus_url", metavar="URL", help="Where the rules and series are.")
@click.option("--rule", "only", multiple=True, help="Only this alert rule; may be repeated.  [default: all]")
@click.option(
    "--capacities", is_flag=True, help="Also what can be used up without a rule: disks, quotas, pools."
)
@click.option("--history", type=Duration(), default="14d", show_default=True, help="The later half is tried.")
@click.option("--warn", type=Duration(), default="4h", show_default=True, help="How long ahead to warn.")
@click.option(
    "--probability",
    type=click.FloatRange(1, 99.9),
    default=50,
    show_default=True,
    help="Percent; when to warn.",
)
@click.option("--for", "held", type=Duration(), default="10m", show_default=True, help="The warning's `for`.")
@click.option(
    "--max-series", type=click.IntRange(1), default=10, show_default=True, help="Tried of each rule, at most."
)
@click.option(
    "--min-precision",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="A warning that was right less often is not written.",
)
@click.option("--severity", default="warning", show_default=True, help="Label of the written rules.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the rule file here.")
@config_option
@data_option
@format_option
def backtest(
    prometheus_url: str | None,
    only: tuple[str, ...],
    capacities: bool,
    history: float,
    warn: float,
    probability: float,
    held: float,
    max_series: int,
    min_precision: float,
    severity: str,
    out: Path | None,
    config_path: Path | None,
    data_directory: Path | None,
    output: str,
) -> None:
    """Try warnings on the past of existing alert rules, and write those that are worth it.

    Each rule that compares series with a number is replayed: at each half hour of
    the later half of the history it is asked whether the threshold will be crossed
    within --warn, with what was known then. Series nearest to the threshold are
    tried first. A threshold that is a series is tried as the database has it.

    The file holds one alert a rule, named <rule>Ahead, with `for` and
    `keep_firing_for`; it uses pronoia_threshold_eta_seconds, and predict_linear
    while pronoia is down.

    \b
    Examples:
      pronoia thresholds backtest --prometheus http://localhost:9090
      pronoia thresholds backtest --rule DiskFull --warn 6h --out rules/pronoia-ahead.rules.yaml

    Exit codes: 0 fine, 1 no rule could be tried or read, 2 wrong use.
    """
    overrides: dict[str, dict[str, object]] = {}
    if prometheus_url:
        overrides["prometheus"] = {"url": prometheus_url}
    if data_directory is not None:
        overrides["store"] = {"directory": data_directory}
    config = read_config(config_path, overrides)
    step = config.forecast.thresholds.interval
    from sidecar.loop.forecast_trials import Terms

    terms = Terms(step, history, warn, probability / 100, held, max_series)
    if history < 2 * 86400:
        raise click.UsageError("--history must be two days or more: the earlier half is what is learnt from")

    async def work() -> list[Trial]:
        async with within_reach(config.prometheus) as client:
            chosen = config.forecast.thresholds.capacities if capacities else ()
            loaded = await evaluated_rules(client, config)
            _refuse_unknown(only, {*(rule.name for rule in loaded), *(one.name for one in chosen)})
            return await _trials(client, loaded, only, terms, chosen)

    try:
        trials = asyncio.run(work())
    except SidecarError as error:
        click.echo(f"pronoia: {error}", err=True)
        raise SystemExit(1) from error
    _show(trials, output)
    if out is not None:
        _write(out, trials, terms, min_precision, severity)
    if not trials:
        raise SystemExit(1)


def _refuse_unknown(only: Sequence[str], known: Collection[str]) -> None:
    """Raises: click.BadParameter where a rule is asked for that there is not."""
    for name in only:
        if name not in known:
            like = get_close_matches(name, sorted(known))
            hint = f"; there is {', '.join(like)}" if like else "; the server's page /rules lists them"
            raise click.BadParameter(f"no rule {name!r} is loaded{hint}", param_hint="--rule")


async def evaluated_rules(client: PrometheusClient, config: Config) -> list[Rule]:
    """The loaded rules, each joined one with the threshold that is exported for it; says where none is.

    Raises: PullError, StoreError.
    """
    from rules.adapt.joined import as_evaluated, without_series
    from rules.adapt.threshold_series import ThresholdSeries

    bounds = {}
    if (config.store.directory / FILE).exists():
        async with opened_store(config) as store:
            bounds = await ThresholdSeries(store).bounds()
    loaded = await client.rules()
    evaluated = as_evaluated(loaded, bounds)
    for rule, now in zip(loaded, evaluated, strict=True):
        if now.expr != rule.expr and now.expr == without_series(rule.expr):
            click.echo(
                f"{rule.name}: {config.store.directory} has no other threshold for its series; "
                "the number in the rule is tried",
                err=True,
            )
    return evaluated


async def _trials(
    client: PrometheusClient,
    loaded: Sequence[Rule],
    only: tuple[str, ...],
    terms: Terms,
    capacities: Sequence[CapacityConfig],
) -> list[Trial]:
    from sidecar.loop.forecast_trials import trials

    rules = [rule for rule in loaded if not only or rule.name in only]
    return await trials(
        client,
        rules,
        terms,
        end_seconds=time.time(),
        run=in_thread,
        capacities=[one for one in capacities if not only or one.name in only],
        on_error=lambda rule, error: click.echo(f"pronoia: {rule}: {error}", err=True),
    )


def _show(trials: list[Trial], output: str) -> None:
    if output == "json":
        click.echo(json.dumps([_as_json(trial) for trial in trials]))
        return
    if not trials:
        click.echo("no alert rule compares series with a number that could be forecast", err=True)
        return
    click.echo(f"{'rule':<32}{'threshold':>12}{'series':>8}{'warnings':>10}{'true':>6}{'crossings':>11}"
               f"{'warned':>8}{'lead':>9}")  # fmt: skip
    for trial in trials:
        worth, lead = trial.worth, trial.worth.median_lead_seconds
        told = "-" if lead is None else format_duration(round(lead / 60) * 60)
        click.echo(
            f"{trial.rule:<32}{trial.bound!s:>12}{trial.n_series:>8}{worth.n_warnings:>10}{worth.n_true:>6}"
            f"{worth.n_crossings:>11}{len(worth.leads_seconds):>8}{told:>9}"
        )


def _as_json(trial: Trial) -> dict[str, Any]:
    worth = trial.worth
    return {
        "rule": trial.rule,
        "measured": trial.measured,
        "threshold": str(trial.bound),
        "series": trial.n_series,
        "warnings": worth.n_warnings,
        "warnings_true": worth.n_true,
        "precision": worth.precision,
        "crossings": worth.n_crossings,
        "crossings_warned": len(worth.leads_seconds),
        "median_lead_seconds": worth.median_lead_seconds,
    }


def _write(path: Path, trials: list[Trial], terms: Terms, min_precision: float, severity: str) -> None:
    from rules.predictive import Ahead, render_ahead
    from rules.validate import check
    from sidecar.durable import replace_file

    good = [trial for trial in trials if trial.may_be_published(min_precision)]
    for trial in trials:
        if trial not in good:
            click.echo(f"{trial.rule}: not written, {trial.words}", err=True)
    if not good:
        click.echo(f"{path}: not written, no warning is worth it", err=True)
        return
    file = render_ahead(
        [Ahead(t.rule, t.measured, ">" if t.bound.above else "<", t.bound.shown, t.words) for t in good],
        warn_seconds=terms.warn,
        probability=terms.probability,
        for_seconds=terms.held,
        keep_firing_seconds=KEEP_FIRING_SECONDS,
        severity=severity,
    )
    try:
        asyncio.run(check(file.text))
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda sink: sink.write(file.text.encode()), mode=0o644)
    except (SidecarError, OSError) as error:
        click.echo(f"pronoia: {path}: {error}", err=True)
        raise SystemExit(1) from error
    click.echo(f"{path}: {len(good)} rules, revision {file.revision}", err=True)
