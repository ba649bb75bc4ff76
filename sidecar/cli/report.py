"""`pronoia report`: what happened, for people who were not there."""

from __future__ import annotations

import click

from sidecar.cli.report_incident import incident
from sidecar.cli.report_noise import noise
from sidecar.cli.report_risk import risk
from sidecar.cli.report_trends import trends


@click.group()
def report() -> None:
    """Reports: of one incident, of a team's noise, of risk, of what grows and declines."""


report.add_command(incident)
report.add_command(noise)
report.add_command(risk)
report.add_command(trends)
