"""`pronoia rules`: audit, adapt, generate, publish, watch over and take back alert rules."""

from __future__ import annotations

import click

from sidecar.cli.rules_approve import approve, reject
from sidecar.cli.rules_audit import audit
from sidecar.cli.rules_backtest import backtest
from sidecar.cli.rules_drift import drift
from sidecar.cli.rules_generate import generate
from sidecar.cli.rules_join import join
from sidecar.cli.rules_plan import apply, plan
from sidecar.cli.rules_replay import replay
from sidecar.cli.rules_republish import republish
from sidecar.cli.rules_revisions import diff, log, rollback, show


@click.group()
def rules() -> None:
    """Adaptive rules: audit, plan, apply, generate; what is live, roll back."""


for command in (
    *(audit, backtest, plan, apply, approve, reject, join, replay, generate),
    *(log, show, diff, drift, rollback, republish),
):
    rules.add_command(command)
rules.add_command(log, "list")
