"""The command line's entry: a group whose commands are imported only when used.

`pronoia run` must serve its health page within two seconds, so no command pays
for another's imports.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from contextlib import suppress
from typing import Any

import click

from sidecar.cli.compiled_code import have_compiled_code_kept
from sidecar.cli.early_signals import ended_at_once, stopped_at_once
from sidecar.cores import one_core_for_algebra

COMMANDS = {
    "run": ("sidecar.cli.run:run", "Run the sidecar."),
    "score": ("sidecar.cli.score:score", "Score anomalies in files, directories or a query's history."),
    "backtest": ("sidecar.cli.backtest:backtest", "Tell what would have been flagged in a query's past."),
    "init": ("sidecar.cli.init:init", "Propose what to watch and write it as a configuration file."),
    "import": ("sidecar.cli.import_:import_", "Turn another detector's configuration into one of pronoia's."),
    "explain-config": (
        "sidecar.cli.explain_config:explain_config",
        "Say what a configuration will cost and write, before it runs.",
    ),
    "check-config": ("sidecar.cli.check_config:check_config", "Say what is wrong with a configuration file."),
    "forecast": ("sidecar.cli.forecast:forecast", "Forecast series of files or of a query."),
    "thresholds": (
        "sidecar.cli.thresholds:thresholds",
        "Warn before alert rules fire: try it on the past, write the rules.",
    ),
    "correlate": ("sidecar.cli.correlate:correlate", "Turn recorded Alertmanager webhooks into incidents."),
    "incidents": ("sidecar.cli.incidents:incidents", "Incidents: what there was, why, and what if."),
    "families": ("sidecar.cli.families:families", "Group a query's series by how they spend a day."),
    "explore": ("sidecar.cli.explore:explore", "Look at what a query gives; write it as CSV."),
    "explain": ("sidecar.cli.explain:explain", "Explain the open anomalies of a running pronoia."),
    "feedback": ("sidecar.cli.feedback:feedback", "Say what anomalies were worth; see the effect, undo it."),
    "notify": ("sidecar.cli.notify:notify", "Messages: preview a template, print rules for Alertmanager."),
    "report": ("sidecar.cli.report:report", "Reports: of one incident, of noise, of trends."),
    "models": (
        "sidecar.cli.models:models",
        "Models: compare forecasters; retrain, promote, undo what judges.",
    ),
    "demo": ("sidecar.cli.demo.command:demo", "Show the whole thing on this machine."),
    "alerts": ("sidecar.cli.alerts:alerts", "Alerts: import those of the past, give dead letters again."),
    "doctor": ("sidecar.cli.doctor:doctor", "Say what is unreachable, and what would make pronoia blind."),
    "db": ("sidecar.cli.db:db", "Look after the database: migrate, status, backup, restore."),
    "rules": ("sidecar.cli.rules:rules", "Alert rules: audit, back-test, adapt, generate, roll back."),
}

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class LazyGroup(click.Group):
    """A click group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        one_core_for_algebra()
        if cmd_name != "run":  # It keeps its own beside the data.
            have_compiled_code_kept()
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        with stopped_at_once() if cmd_name == "run" else ended_at_once():
            command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is named; those that are spelt alike where there is none of that name."""
        from difflib import get_close_matches

        if args[0] not in COMMANDS and (like := get_close_matches(args[0], COMMANDS)):
            ctx.fail(f"No such command {args[0]!r}; there is {', '.join(like)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command; a disk that takes nothing more ends it with a line, as a reader that left does."""
        # A file's name that is no UTF-8, or a terminal of few characters, is no reason to say nothing.
        if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            click.echo(f"pronoia: {error}", err=True)
            # What standard output still holds would be tried again at exit, and be complained of.
            with open(os.devnull, "wb") as nowhere, suppress(OSError, ValueError):
                os.dup2(nowhere.fileno(), sys.stdout.fileno())
            sys.exit(1)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pronoia", prog_name="pronoia")
def main() -> None:
    """Foresight for Prometheus and Alertmanager.

    pronoia pulls series from Prometheus, scores and forecasts them, exports the
    result for Prometheus to scrape, turns Alertmanager's alerts into incidents
    with a probable cause, and writes alert rules that adapt.

    \b
    Begin with:
      pronoia demo                                      see it work, on this machine
      pronoia run --prometheus http://localhost:9090    watch your own Prometheus
      pronoia init --prometheus http://localhost:9090   write its proposal as a file to edit

    Exit codes: 0 fine, 1 something was found or failed, 2 wrong use.
    """
